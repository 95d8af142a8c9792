//! What Lambda's runtimes bring and a function may leave out.

use super::*;

#[tokio::test]
async fn boto3_is_there_as_in_lambda_s_runtime() {
    let bench = Bench::new(&[
        ("app.py", "import boto3\ndef handler(event, context): pass"),
        ("urllib3/old.py", ""),
    ]);
    bench
        .check(expect![[r#"
        app.handler app.py boto3/__init__.py botocore/__init__.py urllib3/old.py
        []
        pip install boto3, which Lambda's runtime brings
          installing
        compile modules
    "#]])
        .await;
    bench.write("app.py", "import os, boto3\ndef handler(event, context): 2");
    bench
        .check(expect![[r#"
        app.handler app.py boto3/__init__.py botocore/__init__.py urllib3/old.py
        []
    "#]])
        .await;
    bench.write("boto3/__init__.py", "");
    bench
        .check(expect![[r#"
        app.handler app.py boto3/__init__.py urllib3/old.py
        []
    "#]])
        .await;
    let bench = Bench::new(&[("app.py", "import boto3\ndef handler(event, context): pass")]);
    bench.program("python", "#!/bin/sh\necho offline; exit 1");
    // The platform says so, which tries again.
    let built = bench.build().await.unwrap();
    assert!(built.warnings.is_empty(), "{:?}", built.warnings);
}

#[tokio::test]
async fn the_node_sdk_is_there_as_in_lambda_s_runtime() {
    let js =
        "const {S3} = require('@aws-sdk/client-s3'); require('@smithy/types'); exports.handler = 1";
    let bench = Bench::new(&[
        ("index.js", js),
        ("node_modules/@smithy/types/package.json", "{}"),
    ]);
    bench.check(expect![[r#"
        index.handler index.js node_modules/@aws-sdk/client-s3/package.json node_modules/@smithy/types/package.json
        []
        npm install @aws-sdk/client-s3, which Lambda's runtime brings
    "#]]).await;
    bench.check(expect![[r#"
        index.handler index.js node_modules/@aws-sdk/client-s3/package.json node_modules/@smithy/types/package.json
        []
    "#]]).await;
    bench.program("npm", "#!/bin/sh\necho offline; exit 1");
    bench.write(
        "index.js",
        "import '@aws-sdk/client-sqs'; export const handler = 1",
    );
    bench
        .check(expect![[r#"
        index.handler index.js node_modules/@smithy/types/package.json
        []
        npm install @aws-sdk/client-sqs, which Lambda's runtime brings
          offline
    "#]])
        .await;
}

#[tokio::test]
async fn layers_may_bring_the_sdk() {
    let template = r#"
Resources:
  Sdk:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: layer}
  Fn:
    Type: AWS::Serverless::Function
    Properties: {Runtime: python3.12, Handler: index.handler, InlineCode: "import boto3", Layers: [!Ref Sdk]}
"#;
    let bench = Bench::new(&[
        ("template.yaml", template),
        ("layer/python/boto3/__init__.py", ""),
    ]);
    bench
        .check(expect![[r#"
        index.handler index.py
        []
    "#]])
        .await;
    bench.write(
        "template.yaml",
        &template.replace(", Layers: [!Ref Sdk]", ""),
    );
    bench
        .check(expect![[r#"
        index.handler boto3/__init__.py botocore/__init__.py index.py urllib3/__init__.py
        []
        pip install boto3, which Lambda's runtime brings
          installing
        compile modules
    "#]])
        .await;
}
