//! The rules of Lambda's model in the service's words.

use expect_test::{Expect, expect};

use proptest::prelude::*;

use super::shapes::*;
use crate::aws::shape::tests::any_json;
use crate::aws::shape::{Request, Source, Unread, read};

/// A request that has these members in its body and this function in its path.
fn request<T: Request>(body: &str) -> Result<T, Unread> {
    read(Source::Rest {
        labels: &[("FunctionName", "hello".to_owned())],
        query: "",
        headers: &http::HeaderMap::new(),
        body: Some(body.to_owned().into()),
    })
}

/// What is told of it.
fn check<T: Request>(body: &str, expected: Expect) {
    expected.assert_eq(&match request::<T>(body) {
        Ok(_) => "fine".to_owned(),
        Err(error) => error.to_string(),
    });
}

fn check_create(members: &str, expected: Expect) {
    let body = format!(
        r#"{{"FunctionName": "hello", "Role": "arn:aws:iam::000000000000:role/any", "Code": {{}}{}{members}}}"#,
        if members.is_empty() { "" } else { ", " }
    );
    check::<CreateFunctionRequest>(&body, expected);
}

#[test]
fn functions_have_rules() {
    check_create("", expect!["fine"]);
    check_create(
        r#""MemorySize": 64"#,
        expect![
            "1 validation error detected: Value '64' at 'memorySize' failed to satisfy constraint: Member must have value greater than or equal to 128"
        ],
    );
    check_create(
        r#""Timeout": 0"#,
        expect![
            "1 validation error detected: Value '0' at 'timeout' failed to satisfy constraint: Member must have value greater than or equal to 1"
        ],
    );
    check_create(
        r#""Architectures": ["x86_64", "arm64"]"#,
        expect![
            "1 validation error detected: Value '[x86_64, arm64]' at 'architectures' failed to satisfy constraint: Member must have length less than or equal to 1"
        ],
    );
    check_create(
        r#""Architectures": ["mips"]"#,
        expect![
            "1 validation error detected: Value '[mips]' at 'architectures' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], Member must not be null]"
        ],
    );
    check_create(
        r#""EphemeralStorage": {"Size": 100}"#,
        expect![
            "1 validation error detected: Value '100' at 'ephemeralStorage.size' failed to satisfy constraint: Member must have value greater than or equal to 512"
        ],
    );
    check_create(
        r#""TracingConfig": {"Mode": "Loud"}"#,
        expect![
            "1 validation error detected: Value 'Loud' at 'tracingConfig.mode' failed to satisfy constraint: Member must satisfy enum value set: [Active, PassThrough]"
        ],
    );
    check_create(
        r#""Layers": ["nuts"]"#,
        expect![[
            r#"1 validation error detected: Value '[nuts]' at 'layers' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 2048, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: ((arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+)), Member must not be null]"#
        ]],
    );
    check_create(
        r#""Environment": {"Variables": {"1": "x"}}"#,
        expect![
            "1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]"
        ],
    );
    check_create(
        r#""FileSystemConfigs": [{"LocalMountPath": "/mnt/x"}]"#,
        expect![
            "1 validation error detected: Value null at 'fileSystemConfigs.1.member.arn' failed to satisfy constraint: Member must not be null"
        ],
    );
    check_create(
        r#""KMSKeyArn": "key""#,
        expect![
            "1 validation error detected: Value 'key' at 'kMSKeyArn' failed to satisfy constraint: Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()"
        ],
    );
    check_create(
        r#""Handler": "no handler""#,
        expect![[
            r#"1 validation error detected: Value 'no handler' at 'handler' failed to satisfy constraint: Member must satisfy regular expression pattern: [^\s]+"#
        ]],
    );
    // What is unknown is an invalid parameter, and told elsewhere.
    check_create(r#""Runtime": "cobol""#, expect!["fine"]);
    check::<CreateFunctionRequest>(
        "{}",
        expect![
            "3 validation errors detected: Value null at 'functionName' failed to satisfy constraint: Member must not be null; Value null at 'role' failed to satisfy constraint: Member must not be null; Value null at 'code' failed to satisfy constraint: Member must not be null"
        ],
    );
}

#[test]
fn other_requests_have_rules() {
    check::<UpdateFunctionConfigurationRequest>(
        r#"{"Timeout": "3"}"#,
        expect!["STRING_VALUE can not be converted to an Integer"],
    );
    check::<UpdateFunctionCodeRequest>(
        r#"{"ZipFile": "not base64"}"#,
        expect!["STRING_VALUE can not be converted to a Blob"],
    );
    check::<CreateAliasRequest>(
        r#"{"Name": "1", "FunctionVersion": "one"}"#,
        expect![[
            r#"2 validation errors detected: Value '1' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+); Value 'one' at 'functionVersion' failed to satisfy constraint: Member must satisfy regular expression pattern: (\$LATEST(\.PUBLISHED)?|[0-9]+)"#
        ]],
    );
    check::<CreateAliasRequest>(
        r#"{"Name": "live", "FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"2": 1.5}}}"#,
        expect![
            "1 validation error detected: Value '{2=1.5}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must have value greater than or equal to 0.0, Member must not be null]"
        ],
    );
    check::<PutFunctionConcurrencyRequest>(
        r#"{"ReservedConcurrentExecutions": -1}"#,
        expect![
            "1 validation error detected: Value '-1' at 'reservedConcurrentExecutions' failed to satisfy constraint: Member must have value greater than or equal to 0"
        ],
    );
    check::<PutFunctionEventInvokeConfigRequest>(
        r#"{"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 59}"#,
        expect![
            "2 validation errors detected: Value '3' at 'maximumRetryAttempts' failed to satisfy constraint: Member must have value less than or equal to 2; Value '59' at 'maximumEventAgeInSeconds' failed to satisfy constraint: Member must have value greater than or equal to 60"
        ],
    );
    check::<AddPermissionRequest>(
        r#"{"StatementId": "a b", "Action": "x", "Principal": "*"}"#,
        expect![
            "2 validation errors detected: Value 'a b' at 'statementId' failed to satisfy constraint: Member must satisfy regular expression pattern: ([a-zA-Z0-9-_]+); Value 'x' at 'action' failed to satisfy constraint: Member must satisfy regular expression pattern: (lambda:[*]|lambda:[a-zA-Z]+|[*])"
        ],
    );
    check::<CreateFunctionUrlConfigRequest>(
        r#"{"AuthType": "NONE", "Cors": {"MaxAge": 86401}}"#,
        expect![
            "1 validation error detected: Value '86401' at 'cors.maxAge' failed to satisfy constraint: Member must have value less than or equal to 86400"
        ],
    );
    check::<TagResourceRequest>(
        r#"{"Tags": {"a": "b"}}"#,
        expect![
            "1 validation error detected: Value null at 'resource' failed to satisfy constraint: Member must not be null"
        ],
    );
}

/// A body that has some of the request's members, of whatever type.
fn any_body<T: Request>() -> impl Strategy<Value = String> {
    let names: Vec<&str> = T::MEMBERS.iter().map(|member| member.name).collect();
    let member = (prop::sample::select(names), any_json());
    prop::collection::vec(member, 0..4).prop_map(|members| {
        let members = members
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    })
}

proptest! {
    #[test]
    fn no_body_panics(
        function in any_body::<CreateFunctionRequest>(),
        mapping in any_body::<CreateEventSourceMappingRequest>(),
        layer in any_body::<PublishLayerVersionRequest>(),
    ) {
        let _ = request::<CreateFunctionRequest>(&function);
        let _ = request::<CreateEventSourceMappingRequest>(&mapping);
        let _ = request::<PublishLayerVersionRequest>(&layer);
    }
}
