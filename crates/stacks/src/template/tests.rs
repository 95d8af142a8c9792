//! What is read from templates, and what is said about the rest, shown as text.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn options() -> Options {
    Options::new(
        "123456789012".parse().unwrap(),
        "eu-west-1".parse().unwrap(),
    )
}

/// A folder named `shop` with an empty entry in `src/` and in `layer/`.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path().canonicalize().unwrap().join("shop");
    for folder in ["src", "layer", "ts", "rust"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for file in ["src/app.py", "ts/app.ts", "rust/Cargo.toml", "code.zip"] {
        fs::write(root.join(file), "").unwrap();
    }
    (temporary, root)
}

fn shown(text: &str, root: &Path) -> String {
    let mut shown = String::new();
    match read_text(text, &root.join("template.yaml"), root, &options()) {
        Ok(found) => {
            for (function, names) in &found.functions {
                writeln!(shown, "{names:?} {}", line(function)).unwrap();
            }
            for warning in &found.warnings {
                writeln!(shown, "{warning}").unwrap();
            }
        }
        Err(error) => writeln!(shown, "{error}").unwrap(),
    }
    shown.replace(&root.display().to_string(), "ROOT")
}

/// What is most telling of a function, on one line.
fn line(plan: &crate::project::FunctionPlan) -> String {
    format!(
        "{} {} {} {} {:?}",
        plan.name,
        plan.runtime,
        plan.handler,
        plan.source.display(),
        plan.build
    )
}

fn check(text: &str, expected: Expect) {
    let (_temporary, root) = folder();
    expected.assert_eq(&shown(text, &root));
}

/// Checks the environment, and the warnings, of a function with these variables.
fn check_variables(variables: &str, rest: &str, expected: Expect) {
    let (_temporary, root) = folder();
    let text = format!(
        "Resources:\n  Fn:\n    Type: AWS::Serverless::Function\n    Properties:\n      \
         CodeUri: src/\n      Handler: app.handler\n      Runtime: python3.12\n      \
         Environment:\n        Variables:\n{variables}\n{rest}"
    );
    let mut options = options();
    options.parameters.insert("Chosen".into(), "by hand".into());
    let found = read_text(&text, &root.join("template.yaml"), &root, &options).unwrap();
    let (function, _) = &found.functions[0];
    let mut shown: String = function
        .environment
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    found
        .warnings
        .iter()
        .for_each(|warning| writeln!(shown, "{warning}").unwrap());
    expected.assert_eq(&shown);
}

#[test]
fn every_property_over_the_globals() {
    let (_temporary, root) = folder();
    let text = r#"
Transform: AWS::Serverless-2016-10-31
Globals:
  Function:
    Runtime: python3.12
    Timeout: 10
    MemorySize: 256
    Tracing: Active
    Environment:
      Variables: {STAGE: dev, LEVEL: info}
    Layers: [!Ref Base]
Resources:
  Base:
    Type: AWS::Serverless::LayerVersion
    Metadata: {BuildMethod: python3.12}
    Properties: {ContentUri: layer, RetentionPolicy: Retain}
  Orders:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: !Sub "${AWS::StackName}-orders"
      Description: Takes orders
      CodeUri: ./src
      Handler: app.handler
      Timeout: 30
      EphemeralStorage: {Size: 1024}
      ReservedConcurrentExecutions: 5
      LoggingConfig: {LogFormat: JSON, ApplicationLogLevel: WARN}
      Environment:
        Variables:
          LEVEL: debug
          ON: yes
          EMPTY:
      FunctionUrlConfig:
        AuthType: NONE
        InvokeMode: RESPONSE_STREAM
        Cors: {AllowOrigins: ["*"], AllowMethods: [GET], MaxAge: 60}
"#;
    let found = read_text(text, &root.join("template.yaml"), &root, &options()).unwrap();
    let shown = format!("{:#?}", found.functions[0].0).replace(&root.display().to_string(), "ROOT");
    expect![[r#"
        FunctionPlan {
            name: FunctionName(
                "shop-orders",
            ),
            runtime: Python {
                minor: 12,
            },
            handler: "app.handler",
            description: "Takes orders",
            memory_mb: 256,
            timeout: 30s,
            tmp_mb: 1024,
            environment: {
                "EMPTY": "",
                "LEVEL": "debug",
                "ON": "true",
                "STAGE": "dev",
            },
            log_format: Json,
            log_level: Warn,
            source: "ROOT/src",
            build: Python,
            layers: [
                LayerPlan {
                    name: "Base",
                    source: "ROOT/layer",
                    build: Python(
                        Python {
                            minor: 12,
                        },
                    ),
                },
            ],
            url: Some(
                UrlSettings {
                    cors: Some(
                        Cors {
                            allow_credentials: false,
                            allow_headers: [],
                            allow_methods: [
                                "GET",
                            ],
                            allow_origins: [
                                "*",
                            ],
                            expose_headers: [],
                            max_age_s: Some(
                                60,
                            ),
                        },
                    ),
                    invoke_mode: ResponseStream,
                    auth: Nobody,
                },
            ),
            reserved_concurrency: Some(
                5,
            ),
        }"#]]
    .assert_eq(&shown);
    expect!["template.yaml:8: Tracing of Globals.Function has no effect yet"]
        .assert_eq(&found.warnings.join("\n"));
}

#[test]
fn kinds_of_builds() {
    check(
        r#"
Resources:
  Inline:
    Type: AWS::Serverless::Function
    Properties: {Runtime: nodejs22.x, Handler: index.handler, InlineCode: "exports.handler = 1"}
  Script:
    Type: AWS::Serverless::Function
    Properties: {Runtime: nodejs22.x, Handler: app.handler, CodeUri: ts}
  Bundle:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: esbuild, BuildProperties: {EntryPoints: [lib/app.ts], Minify: true}}
    Properties: {Runtime: nodejs22.x, Handler: app.handler, CodeUri: ts}
  Native:
    Type: AWS::Serverless::Function
    Properties: {Runtime: provided.al2023, Handler: x, CodeUri: rust}
  Chosen:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: rust-cargolambda, BuildProperties: {Binary: one}}
    Properties: {Runtime: provided.al2023, CodeUri: rust}
  Made:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: makefile}
    Properties: {Runtime: provided.al2, CodeUri: rust}
"#,
        expect![[r#"
            ["Inline"] Inline nodejs22.x index.handler ROOT Inline { file: "index.js", text: "exports.handler = 1" }
            ["Script"] Script nodejs22.x app.handler ROOT/ts TypeScript { entry: None }
            ["Bundle"] Bundle nodejs22.x app.handler ROOT/ts TypeScript { entry: Some("lib/app.ts") }
            ["Native"] Native provided.al2023 x ROOT/rust Rust { binary: None }
            ["Chosen"] Chosen provided.al2023 bootstrap ROOT/rust Rust { binary: Some("one") }
            ["Made"] Made provided.al2 bootstrap ROOT/rust Make { target: "Made" }
            template.yaml:11: BuildProperties.Minify has no effect yet (Bundle)
        "#]],
    );
}

#[test]
fn what_is_not_acted_on_is_named_once_with_its_line() {
    check(
        r#"
AWSTemplateFormatVersion: "2010-09-09"
Transform: [AWS::Serverless-2016-10-31, Mine]
Globals:
  Api: {Cors: "*"}
Resources:
  Table: {Type: AWS::DynamoDB::Table}
  Other: {Type: AWS::DynamoDB::Table}
  Bucket: {Type: AWS::S3::Bucket}
  Old:
    Type: AWS::Serverless::Function
    Properties: {Runtime: java21, Handler: x, CodeUri: src}
  Image:
    Type: AWS::Serverless::Function
    Properties: {PackageType: Image}
  Far:
    Type: AWS::Serverless::Function
    Properties: {Runtime: python3.12, Handler: x.y, CodeUri: s3://bucket/key}
  Fn:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: python3.12
      Handler: app.handler
      CodeUri: src
      Policies: [AWSLambdaBasicExecutionRole]
      Architectures: [mips]
      Layers: ["arn:aws:lambda:eu-west-1:1:layer:x:1"]
      LoggingConfig: {LogGroup: mine}
      FunctionUrlConfig: {AuthType: AWS_IAM, InvokeMode: RESPONSE_STREAM}
      Events:
        Get: {Type: HttpApi}
        Tick: {Type: Schedule}
  Fn2:
    Type: AWS::Serverless::Function
    Properties: {Runtime: python3.12, Handler: app.handler, CodeUri: src, Policies: [], Role: x}
Outputs:
  Url: {Value: x}
"#,
        expect![[r#"
            ["Fn"] Fn python3.12 app.handler ROOT/src Python
            ["Fn2"] Fn2 python3.12 app.handler ROOT/src Python
            template.yaml:3: the transform Mine has no effect yet
            template.yaml:5: Globals.Api has no effect yet
            template.yaml:7: resources of type AWS::DynamoDB::Table are not made yet (Table, Other)
            template.yaml:9: resources of type AWS::S3::Bucket are not made yet (Bucket)
            template.yaml:12: Old is left out: the runtime java21 cannot run here; python3.9 to python3.14, nodejs18.x to nodejs24.x, provided.al2 and provided.al2023 can
            template.yaml:15: Image is left out: container images cannot run here
            template.yaml:18: Far is left out: its code is not beside the template
            template.yaml:25: Policies of AWS::Serverless::Function has no effect yet (Fn, Fn2)
            template.yaml:26: Fn asks for mips; it is built for and runs on x86_64, which this host is
            template.yaml:27: the layer arn:aws:lambda:eu-west-1:1:layer:x:1 of Fn is not in this template; it is left out
            template.yaml:28: LoggingConfig.LogGroup has no effect yet (Fn)
            template.yaml:31: the event type HttpApi has no effect yet (Fn)
            template.yaml:32: the event type Schedule has no effect yet (Fn)
            template.yaml:35: Role of AWS::Serverless::Function has no effect yet (Fn2)
            template.yaml:36: the section Outputs has no effect yet
        "#]],
    );
}

#[test]
fn mistakes_are_told_with_their_line() {
    let function = |properties: &str| {
        format!(
            "Resources:\n  Fn:\n    Type: AWS::Serverless::Function\n    Properties: {properties}\n"
        )
    };
    check(
        "Resources: [",
        expect![[r#"
        read ROOT/template.yaml, line 1: unclosed bracket '['
    "#]],
    );
    check(
        "- a",
        expect![[r#"
        read ROOT/template.yaml, line 1: a template is a map with a Resources section
    "#]],
    );
    check(
        "a: 1\na: 2",
        expect![[r#"
        read ROOT/template.yaml, line 2: the key 'a' is there twice
    "#]],
    );
    check(
        "Resources:\n  Fn: {}",
        expect![[r#"
        read ROOT/template.yaml, line 2: the resource Fn has no Type
    "#]],
    );
    check(
        &function("{Handler: a.b}"),
        expect![[r#"
            template.yaml:2: Fn is left out: Fn has no Runtime
        "#]],
    );
    check(
        &function("{Runtime: python3.12}"),
        expect![[r#"
            template.yaml:2: Fn is left out: Fn has no Handler
        "#]],
    );
    check(
        &function("{Runtime: python3.12, Handler: a.b, CodeUri: nowhere}"),
        expect![[r#"
            template.yaml:4: Fn is left out: CodeUri names nowhere, which is no folder beside the template
        "#]],
    );
    check(
        &function("{Runtime: python3.12, Handler: a.b, CodeUri: code.zip}"),
        expect![[r#"
            template.yaml:4: Fn is left out: CodeUri names the file code.zip; unpack it, and name the folder
        "#]],
    );
    check(
        &function("{Runtime: python3.12, Handler: a.b, MemorySize: lots}"),
        expect![[r#"
            template.yaml:4: Fn is left out: MemorySize of Fn must be a whole number
        "#]],
    );
    check(
        &function("{Runtime: python3.12, Handler: a.b, FunctionName: a b}"),
        expect![[r#"
            template.yaml:4: Fn is left out: 'a b' is not a valid function name: 1 to 64 letters, digits, hyphens and underscores; set FunctionName
        "#]],
    );
    check(
        &function("{Runtime: python3.12, Handler: a.b, FunctionUrlConfig: {}}"),
        expect![[r#"
            template.yaml:4: Fn is left out: AuthType must be NONE or AWS_IAM
        "#]],
    );
    check(
        "Resources:\n  L: {Type: AWS::Serverless::LayerVersion}",
        expect![[r#"
            template.yaml:2: L is left out: the layer L has no ContentUri
        "#]],
    );
}

#[test]
fn what_is_kept_in_aws_is_named() {
    check_variables(
        r#"
          PLAIN: "{{resolve:ssm:/db/host:1}}"
          WITHIN: !Sub "https://{{resolve:secretsmanager:${Stage}:SecretString:key}}@db"
          JOINED: !Join ["", ["{{resolve:", "ssm:/x", "}}"]]
          BRACES: "{{other}}""#,
        "Parameters:\n  Stage: {Type: String, Default: dev}",
        expect![[r#"
            BRACES={{other}}
            template.yaml:1: the template has no parameter Chosen
            template.yaml:11: {{resolve:ssm:/db/host:1}} is kept in AWS and not read here; what it is the value of is left out (a variable can be set in .env or an env-vars file)
            template.yaml:12: {{resolve:secretsmanager:dev:SecretString:key}} is kept in AWS and not read here; what it is the value of is left out (a variable can be set in .env or an env-vars file)
            template.yaml:13: {{resolve:ssm:/x}} is kept in AWS and not read here; what it is the value of is left out (a variable can be set in .env or an env-vars file)
        "#]],
    );
}

#[test]
fn intrinsic_functions() {
    check_variables(
        r#"
          REGION: !Ref AWS::Region
          ARN: !GetAtt Fn.Arn
          LONG: {"Fn::Sub": "${Stage}-${AWS::AccountId}-${!Kept}-${Own}"}
          OWN: !Sub ["${Own}/${Stage}", {Own: !Ref Chosen}]
          JOIN: !Join ["-", [a, !Ref Stage, !Select [1, !Split [",", "x,y"]]]]
          MAP: !FindInMap [Sizes, !Ref Stage, Small]
          IF: !If [IsDev, dev only, others]
          UNLESS: !If [IsOther, !Ref AWS::NoValue, kept]
          GONE: !If [IsDev, !Ref AWS::NoValue, kept]
          LIST: !Select [0, !Ref Names]"#,
        r#"
Parameters:
  Stage: {Type: String, Default: dev}
  Own: {Type: String, Default: own}
  Chosen: {Type: String, Default: not this}
  Names: {Type: CommaDelimitedList, Default: "one, two"}
Mappings:
  Sizes: {dev: {Small: 1}}
Conditions:
  IsDev: !Equals [!Ref Stage, dev]
  IsOther: !And [!Not [!Condition IsDev], !Or [{Condition: IsDev}, !Equals [a, a]]]
"#,
        expect![[r#"
            ARN=arn:aws:lambda:eu-west-1:123456789012:function:Fn
            IF=dev only
            JOIN=a-dev-y
            LIST=one
            LONG=dev-123456789012-${Kept}-own
            MAP=1
            OWN=by hand/dev
            REGION=eu-west-1
            UNLESS=kept
        "#]],
    );
}

#[test]
fn what_cannot_be_known_is_said() {
    check_variables(
        r#"
          TABLE: !Ref Table
          ATTRIBUTE: !GetAtt Table.Arn
          SECRET: !Ref Secret
          NOBODY: !Ref Nobody
          IMPORT: !ImportValue x
          CIRCLE: !If [Circle, a, b]
          BAD: !Join [a]"#,
        r#"
  Table: {Type: AWS::DynamoDB::Table}
Parameters:
  Secret: {Type: String, NoEcho: true}
Conditions:
  Circle: !Not [!Condition Circle]
"#,
        expect![[r#"
            ATTRIBUTE=Table.Arn
            CIRCLE=a
            TABLE=Table
            template.yaml:1: the template has no parameter Chosen
            template.yaml:11: Table is not made here (AWS::DynamoDB::Table); what refers to it gets the text 'Table'
            template.yaml:12: Table.Arn is not known here; what refers to it gets the text 'Table.Arn'
            template.yaml:13: the parameter Secret has no default; what refers to it is left out
            template.yaml:14: 'Nobody' is no parameter or resource of this template; what refers to it is left out
            template.yaml:15: the intrinsic function Fn::ImportValue has no effect yet
            template.yaml:17: Fn::Join does not have the form that it should; it is left out
            template.yaml:19: resources of type AWS::DynamoDB::Table are not made yet (Table)
            template.yaml:23: the condition Circle asks for itself; it is taken as false
        "#]],
    );
}

#[test]
fn anchors_and_merges_are_followed_and_bombs_are_not() {
    check_variables(
        r#"
          <<: &shared {ONE: 1, TWO: 2}
          TWO: two
          THREE: &three three
          FOUR: *three"#,
        "",
        expect![[r#"
            FOUR=three
            ONE=1
            THREE=three
            TWO=two
            template.yaml:1: the template has no parameter Chosen
        "#]],
    );
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let before = level - 1;
        let items = vec![format!("*a{before}"); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{items}]").unwrap();
    }
    check(
        &bomb,
        expect![[r#"
        read ROOT/template.yaml, line 5: it becomes too large once its aliases are expanded
    "#]],
    );
    check(
        &format!("a: {}", "[".repeat(10_000)),
        expect![[r#"
        read ROOT/template.yaml, line 1: recursion limit exceeded
    "#]],
    );
    check(
        &"a".repeat(yaml::TEMPLATE_BYTES_MAX + 1),
        expect![[r#"
        read ROOT/template.yaml: it is 1048577 bytes long; at most 1048576 are read
    "#]],
    );
}

#[test]
fn json_is_read_too() {
    check(
        r#"{"Resources": {"Fn": {"Type": "AWS::Serverless::Function", "Properties":
            {"Runtime": "python3.12", "Handler": "app.handler", "CodeUri": {"Ref": "AWS::NoValue"}, "Tags": {}}}}}"#,
        expect![[r#"
            ["Fn"] Fn python3.12 app.handler ROOT Python
            template.yaml:2: Tags of AWS::Serverless::Function has no effect yet (Fn)
        "#]],
    );
}

/// A template that touches everything the reader knows, to be spoilt.
const WHOLE: &str = r#"
Transform: AWS::Serverless-2016-10-31
Globals: {Function: {Timeout: 3, Layers: [!Ref Base], Environment: {Variables: {A1: x}}}}
Parameters: {Stage: {Type: String, Default: dev}, Names: {Type: CommaDelimitedList, Default: "a,b"}}
Mappings: {Sizes: {dev: {Small: 1}}}
Conditions: {IsDev: !And [!Equals [!Ref Stage, dev], !Not [!Condition Never]], Never: !Equals [a, b]}
Resources:
  Base: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: layer}}
  Fn:
    Type: AWS::Serverless::Function
    Condition: IsDev
    Metadata: {BuildMethod: esbuild, BuildProperties: {EntryPoints: [app.ts]}}
    Properties:
      FunctionName: &name !Sub "${AWS::StackName}-x"
      Handler: app.handler
      Runtime: python3.12
      CodeUri: src
      MemorySize: 128
      Architectures: [arm64]
      Environment:
        Variables: {B1: !Join ["-", !Ref Names], C1: !FindInMap [Sizes, !Ref Stage, Small], D1: *name}
      FunctionUrlConfig: {AuthType: NONE, Cors: {AllowOrigins: ["*"]}}
      LoggingConfig: {LogFormat: JSON}
      Events: {Get: {Type: HttpApi}}
"#;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = yaml::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_yaml_like_text_makes_the_reader_panic(text in "([-:?&*!|>{}\\[\\],#'\"a0. \n]|<<|Ref|Fn::|!Sub |!GetAtt ){0,200}") {
        let _ = yaml::parse(&text);
    }

    #[test]
    fn no_spoilt_template_makes_the_reader_panic(
        edits in prop::collection::vec((0..WHOLE.len(), 0usize..20, "[-:!&*{}\\[\\]$ \na-cA.]{0,4}|!Ref |!Sub |Fn::If"), 1..6)
    ) {
        let mut text = WHOLE.to_owned();
        for (at, length, new) in edits {
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            if text.is_char_boundary(at) && text.is_char_boundary(end) {
                text.replace_range(at..end, &new);
            }
        }
        let root = std::env::temp_dir();
        let _ = read_text(&text, &root.join("template.yaml"), &root, &options());
    }
}

#[test]
fn the_template_that_is_spoilt_is_whole() {
    let (_temporary, root) = folder();
    let found = read_text(WHOLE, &root.join("template.yaml"), &root, &options()).unwrap();
    assert_eq!(found.functions.len(), 1);
}

#[test]
fn what_is_wrong_with_one_function_leaves_out_that_one_alone() {
    let function = |id: &str, properties: &str| {
        format!(
            "  {id}: {{Type: AWS::Serverless::Function, Properties: {{Runtime: python3.12, {properties}}}}}\n"
        )
    };
    let text = [
        "Resources:\n".to_owned(),
        function("Good", "CodeUri: src, Handler: app.handler"),
        function("NoHandler", "CodeUri: src"),
        function("NoFolder", "CodeUri: nowhere, Handler: app.handler"),
        function(
            "NoNumber",
            "CodeUri: src, Handler: app.handler, Timeout: soon",
        ),
        function(
            "NoLayer",
            "CodeUri: src, Handler: app.handler, Layers: [!Ref Layer]",
        ),
        "  Layer: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: nowhere}}\n"
            .into(),
    ];
    check(
        &text.concat(),
        expect![[r#"
        ["Good"] Good python3.12 app.handler ROOT/src Python
        template.yaml:3: NoHandler is left out: NoHandler has no Handler
        template.yaml:4: NoFolder is left out: CodeUri names nowhere, which is no folder beside the template
        template.yaml:5: NoNumber is left out: Timeout of NoNumber must be a whole number
        template.yaml:6: NoLayer is left out: its layer Layer cannot be read
        template.yaml:7: Layer is left out: ContentUri names nowhere, which is no folder beside the template
    "#]],
    );
    let (_temporary, root) = folder();
    let found = read_text(
        &text.concat(),
        &root.join("template.yaml"),
        &root,
        &options(),
    )
    .unwrap();
    let left_out: Vec<&str> = found.left_out.iter().map(|name| name.as_str()).collect();
    assert_eq!(left_out, ["NoHandler", "NoFolder", "NoNumber", "NoLayer"]);
    // Once the folder is there, the template is read again.
    assert!(found.manifests.contains(&root.join("nowhere")));
}
