//! Real clients: boto3 and the aws CLI talk to a node with nothing but an endpoint.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::program::dayfly;
use crate::project::Project;
use crate::test_node::TestNode;

/// A program among the test tools, named by a variable.
pub(crate) fn tool(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set; run `cargo xtask test`, which sets it"))
}

/// Runs a Python script against the node; its assertions are the story's.
pub(crate) fn boto3(node: &TestNode, script: &str) {
    boto3_says(node, script);
}

/// The same for a script whose output matters.
pub(crate) fn boto3_says(node: &TestNode, script: &str) -> String {
    let script = format!("import base64, boto3, json, botocore, botocore.config\n{script}");
    let mut python = Command::new(tool("DAYFLY_TEST_PYTHON"));
    python
        .args(["-c", &script])
        .env("AWS_ENDPOINT_URL", &node.origin)
        .env("AWS_ACCESS_KEY_ID", "000000000000")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_MAX_ATTEMPTS", "1");
    said(&mut python)
}

#[test]
fn boto3_needs_nothing_but_what_dev_gives_to_paste() {
    const PASTE: &str = "For AWS tools: export ";
    let project = Project::new(&[("hello/app.py", "def handler(event, context): return 1")]);
    let folder = project.path().to_str().expect("a UTF-8 path");
    let mut dev = dayfly(&["dev", folder, "--port", "0"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        dev.env_remove(name);
    }
    dev.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut dev = Ended(dev.spawn().expect("the program starts"));
    let said_by_it = BufReader::new(dev.0.stderr.take().expect("its words"));
    let exports = said_by_it.lines().map_while(Result::ok).find_map(|line| {
        let (_, exports) = line.split_once(PASTE)?;
        Some(exports.to_owned())
    });
    let exports = exports.expect("something to paste");
    let script = "import boto3; print(boto3.client('lambda').list_functions()['Functions'][0]['FunctionName'])";
    let mut python = Command::new(tool("DAYFLY_TEST_PYTHON"));
    python.args(["-c", script]).env_clear().env("HOME", folder);
    python.envs(
        exports
            .split_whitespace()
            .filter_map(|it| it.split_once('=')),
    );
    assert_eq!(said(&mut python).trim(), "hello", "{exports}");
}

/// A program that is killed when dropped.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a client said, which has to succeed.
pub(crate) fn said(client: &mut Command) -> String {
    let output = client.output().expect("the client runs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const APP: &str = "
import os
def handler(event, context):
    print('said something')
    if event.get('fail'): raise ValueError('no good')
    return {'event': event, 'client': context.client_context and context.client_context.custom,
            'arn': context.invoked_function_arn, 'function': context.function_name}
";

#[test]
fn boto3_invokes() {
    let project = Project::new(&[("hello/app.py", APP)]);
    let node = TestNode::with(&project);
    boto3(
        &node,
        r#"
client = boto3.client('lambda')
answer = client.invoke(FunctionName='hello', Payload=b'{"n": 1}', LogType='Tail',
    ClientContext=base64.b64encode(b'{"custom": {"k": "v"}}').decode())
assert answer['StatusCode'] == 200 and answer['ExecutedVersion'] == '$LATEST', answer
assert 'FunctionError' not in answer
body = json.loads(answer['Payload'].read())
assert body == {'event': {'n': 1}, 'client': {'k': 'v'}, 'function': 'hello',
    'arn': 'arn:aws:lambda:us-east-1:000000000000:function:hello'}, body
log = base64.b64decode(answer['LogResult']).decode()
assert 'START RequestId' in log and 'said something' in log and 'REPORT RequestId' in log, log

answer = client.invoke(FunctionName='hello', Payload=b'{"fail": 1}')
assert answer['FunctionError'] == 'Unhandled'
error = json.loads(answer['Payload'].read())
assert error['errorType'] == 'ValueError' and error['errorMessage'] == 'no good', error

assert client.invoke(FunctionName='hello', InvocationType='DryRun')['StatusCode'] == 204
assert client.invoke(FunctionName='hello', InvocationType='Event', Payload=b'{}')['StatusCode'] == 202

for name in ['arn:aws:lambda:us-east-1:000000000000:function:hello', '000000000000:function:hello', 'hello:$LATEST']:
    assert client.invoke(FunctionName=name)['StatusCode'] == 200, name

try:
    client.invoke(FunctionName='missing')
    raise SystemExit('no error')
except client.exceptions.ResourceNotFoundException as error:
    assert error.response['Error']['Message'] == \
        'Function not found: arn:aws:lambda:us-east-1:000000000000:function:missing', error
    assert error.response['ResponseMetadata']['HTTPStatusCode'] == 404
try:
    client.invoke(FunctionName='hello', Payload=b'x' * (6291456 + 1))
    raise SystemExit('no error')
except botocore.exceptions.ClientError as error:
    assert error.response['Error']['Code'] in ('RequestTooLargeException', 'InvalidRequestContentException'), error

names = [f['FunctionName'] for f in client.list_functions()['Functions']]
assert names == ['hello'], names
config = client.get_function_configuration(FunctionName='hello')
assert config['Handler'] == 'app.handler' and config['State'] == 'Active', config
assert boto3.client('sts').get_caller_identity()['Account'] == '000000000000'
"#,
    );
}

#[test]
fn boto3_reads_every_answer() {
    let template = "
Resources:
  Hello:
    Type: AWS::Serverless::Function
    Properties:
      {FunctionName: hello, CodeUri: f, Handler: app.handler, Runtime: python3.11, Timeout: 7,
       ReservedConcurrentExecutions: 2, Environment: {Variables: {STAGE: test}},
       FunctionUrlConfig: {AuthType: NONE, Cors: {AllowOrigins: ['*'], MaxAge: 60}}}
";
    let project = Project::new(&[("template.yaml", template), ("f/app.py", APP)]);
    let node = TestNode::with(&project);
    boto3(
        &node,
        r#"
client = boto3.client('lambda')
function = client.get_function(FunctionName='hello')
assert function['Concurrency'] == {'ReservedConcurrentExecutions': 2}, function
config = function['Configuration']
assert (config['Timeout'], config['MemorySize'], config['Version']) == (7, 128, '$LATEST'), config
assert config['Environment'] == {'Variables': {'STAGE': 'test'}}, config
assert config['SnapStart'] == {'ApplyOn': 'None', 'OptimizationStatus': 'Off'}, config
assert not {'Layers', 'VpcConfig', 'KMSKeyArn', 'StateReason'} & set(config), config
assert client.get_function_configuration(FunctionName='hello', Qualifier='$LATEST')['State'] == 'Active'
assert client.get_function_concurrency(FunctionName='hello')['ReservedConcurrentExecutions'] == 2
assert client.get_function_code_signing_config(FunctionName='hello')['FunctionName'] == 'hello'
assert client.list_aliases(FunctionName='hello')['Aliases'] == []
versions = client.list_versions_by_function(FunctionName='hello', MaxItems=1)
assert [v['Version'] for v in versions['Versions']] == ['$LATEST'], versions
url = client.get_function_url_config(FunctionName='hello')
assert url['Cors'] == {'AllowOrigins': ['*'], 'MaxAge': 60} and url['AuthType'] == 'NONE', url
assert client.list_function_url_configs(FunctionName='hello')['FunctionUrlConfigs'][0]['FunctionUrl'] == url['FunctionUrl']
assert client.get_account_settings()['AccountUsage']['FunctionCount'] == 1
identity = boto3.client('sts').get_caller_identity()
assert identity['Arn'] == 'arn:aws:iam::000000000000:root' and identity['UserId'] == '000000000000', identity

unchecked = boto3.client('lambda', config=botocore.config.Config(parameter_validation=False))
def refused(call, **parameters):
    try:
        call(**parameters)
    except botocore.exceptions.ClientError as error:
        return error.response['Error']['Code'] + ': ' + error.response['Error']['Message']
    raise SystemExit('no error')
rule = "1 validation error detected: Value '0' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1"
assert refused(unchecked.list_functions, MaxItems=0) == 'ValidationException: ' + rule
assert refused(unchecked.get_function, FunctionName='a b').startswith("ValidationException: 1 validation error detected: Value 'a b' at 'functionName'")
assert refused(client.get_alias, FunctionName='hello', Name='live') == \
    'ResourceNotFoundException: Cannot find alias arn: arn:aws:lambda:us-east-1:000000000000:function:hello:live'
assert refused(boto3.client('logs').describe_query_definitions).startswith('UnknownOperationException: the operation DescribeQueryDefinitions')
sts = boto3.client('sts')
assert refused(sts.get_access_key_info, AccessKeyId='A' * 20).startswith('NotImplemented: the operation GetAccessKeyInfo')
# These are not signed.
role = dict(RoleArn='arn:aws:iam::000000000000:role/any', DurationSeconds=900)
assert refused(sts.assume_role_with_web_identity, **role, RoleSessionName='session', WebIdentityToken='token') == \
    'NotImplemented: the operation AssumeRoleWithWebIdentity of STS is not served here yet'
assert refused(sts.assume_role_with_saml, **role, PrincipalArn='arn:aws:iam::000000000000:saml-provider/any',
               SAMLAssertion='abcd') == 'NotImplemented: the operation AssumeRoleWithSAML of STS is not served here yet'
unsigned = boto3.client('sts', config=botocore.config.Config(signature_version=botocore.UNSIGNED))
assert refused(unsigned.get_caller_identity).startswith('MissingAuthenticationToken: ')
"#,
    );
}

#[test]
fn the_aws_cli_invokes() {
    let project = Project::new(&[("hello/app.py", APP)]);
    let node = TestNode::with(&project);
    let out = tempfile::NamedTempFile::new().expect("a file");
    let output = Command::new(tool("DAYFLY_TEST_AWS"))
        .args([
            "lambda",
            "invoke",
            "--function-name",
            "hello",
            "--payload",
            r#"{"n": 2}"#,
        ])
        .arg(out.path())
        .env("AWS_ENDPOINT_URL", &node.origin)
        .env("AWS_ACCESS_KEY_ID", "any")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .output()
        .expect("the aws CLI runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answer = std::fs::read_to_string(out.path()).expect("the answer");
    assert!(answer.contains(r#""n": 2"#), "{answer}");
}

#[test]
fn reserved_concurrency_refuses_at_once_with_lambdas_error() {
    let template = "
Resources:
  None:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: none, CodeUri: f, Handler: app.handler, Runtime: python3.11, ReservedConcurrentExecutions: 0}
";
    let project = Project::new(&[("template.yaml", template), ("f/app.py", APP)]);
    let node = TestNode::with(&project);
    boto3(
        &node,
        r#"
client = boto3.client('lambda')
try:
    client.invoke(FunctionName='none')
    raise SystemExit('no error')
except client.exceptions.TooManyRequestsException as error:
    assert error.response['Reason'] == 'ReservedFunctionConcurrentInvocationLimitExceeded', error.response
    assert error.response['ResponseMetadata']['HTTPStatusCode'] == 429
"#,
    );
}
