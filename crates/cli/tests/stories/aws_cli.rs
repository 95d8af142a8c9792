//! The aws CLI from a function's first version to its end, as its users type it.

use std::path::Path;
use std::process::Command;

use crate::clients::{said, tool};
use crate::project::Project;
use crate::test_node::TestNode;

/// What is typed, a command a line; `sh` ends at the first that fails.
const SESSION: &str = r#"
set -eu
aws() { "$AWS" --output text "$@"; }
expect() { [ "$1" = "$2" ] || { echo "$1 instead of $2" >&2; exit 1; }; }
answer() { aws lambda invoke --function-name "$@" out.json --query StatusCode >/dev/null; cat out.json; }

printf 'def handler(event, context): return "one"\n' > app.py
"$PYTHON" -m zipfile -c one.zip app.py
printf 'def handler(event, context): return "two"\n' > app.py
"$PYTHON" -m zipfile -c two.zip app.py
role=arn:aws:iam::000000000000:role/runs

expect "$(aws lambda create-function --function-name cli --runtime python3.12 --role $role \
    --handler app.handler --zip-file fileb://one.zip --tags team=blue --query State)" Pending
aws lambda wait function-active-v2 --function-name cli
expect "$(answer cli)" '"one"'
expect "$(aws lambda publish-version --function-name cli --query Version)" 1
aws lambda create-alias --function-name cli --name live --function-version 1 >/dev/null
aws lambda update-function-code --function-name cli --zip-file fileb://two.zip >/dev/null
aws lambda wait function-updated-v2 --function-name cli
expect "$(answer cli)" '"two"'
expect "$(answer cli:live)" '"one"'
expect "$(answer cli --qualifier 1)" '"one"'
aws lambda update-function-configuration --function-name cli --timeout 7 \
    --environment 'Variables={WHO=world}' >/dev/null
expect "$(aws lambda get-function-configuration --function-name cli \
    --query '[Timeout,Environment.Variables.WHO]' | tr '\t' ' ')" '7 world'
expect "$(aws lambda list-functions --query 'Functions[].FunctionName')" cli
expect "$(aws lambda list-tags --resource "$(aws lambda get-function --function-name cli \
    --query Configuration.FunctionArn)" --query Tags.team)" blue
aws lambda put-function-concurrency --function-name cli --reserved-concurrent-executions 2 >/dev/null
expect "$(aws lambda get-function-concurrency --function-name cli \
    --query ReservedConcurrentExecutions)" 2
aws lambda add-permission --function-name cli --statement-id s3 --action lambda:InvokeFunction \
    --principal s3.amazonaws.com >/dev/null
aws lambda get-policy --function-name cli --query Policy | grep -q '"Sid":"s3"'
url=$(aws lambda create-function-url-config --function-name cli --auth-type NONE --query FunctionUrl)
aws lambda add-permission --function-name cli --statement-id url --principal '*' \
    --action lambda:InvokeFunctionUrl --function-url-auth-type NONE >/dev/null
expect "$("$PYTHON" -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())' "$url")" two
mkdir -p python && printf 'NAME = "layer"\n' > python/shared.py
"$PYTHON" -m zipfile -c layer.zip python/
layer=$(aws lambda publish-layer-version --layer-name shared --zip-file fileb://layer.zip \
    --query LayerVersionArn)
printf 'import shared\ndef handler(event, context): return shared.NAME\n' > app.py
"$PYTHON" -m zipfile -c three.zip app.py
aws lambda update-function-configuration --function-name cli --layers "$layer" >/dev/null
aws lambda update-function-code --function-name cli --zip-file fileb://three.zip >/dev/null
expect "$(answer cli)" '"layer"'
expect "$(aws lambda invoke --function-name cli --invocation-type Event out.json \
    --query StatusCode)" 202
aws logs describe-log-streams --log-group-name /aws/lambda/cli --query 'logStreams[0].logStreamName' \
    | grep -q '^20[0-9/]*/\[.*\][0-9a-f]*$'
aws logs filter-log-events --log-group-name /aws/lambda/cli --filter-pattern REPORT \
    --query 'events[0].message' | grep -q '^REPORT RequestId'
expect "$(aws sts get-caller-identity --query Account)" 000000000000
if aws lambda get-function --function-name nobody 2>err.txt; then exit 1; fi
grep -q '(ResourceNotFoundException) when calling the GetFunction operation: Function not found: arn:aws' err.txt
aws lambda delete-function --function-name cli
expect "$(aws lambda list-functions --query 'length(Functions)')" 0
"#;

#[test]
fn the_aws_cli_takes_a_function_from_its_first_version_to_its_end() {
    let project = Project::new(&[("seed/app.py", "def handler(event, context): pass")]);
    let node = TestNode::with(&project);
    let folder = tempfile::tempdir().expect("a folder");
    run(
        &node,
        folder.path(),
        "\"$AWS\" lambda delete-function --function-name seed",
    );
    run(&node, folder.path(), SESSION);
}

/// Runs a script of the shell.
fn run(node: &TestNode, folder: &Path, script: &str) {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .current_dir(folder)
        .env("AWS", tool("DAYFLY_TEST_AWS"))
        .env("PYTHON", tool("DAYFLY_TEST_PYTHON"))
        .env("AWS_ENDPOINT_URL", &node.origin)
        .env("AWS_ACCESS_KEY_ID", "000000000000")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .env("AWS_DEFAULT_REGION", "us-east-1");
    said(&mut shell);
}
