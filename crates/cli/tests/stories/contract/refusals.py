# Bad input, in the service's words.
BAD = 'InvalidParameterValueException'
good = dict(FunctionName='hello', Runtime='python3.12', Role=ROLE, Handler='app.handler',
            Code={'ZipFile': archive({'app.py': HELLO})})


def bad(message, **change):
    return refused(400, BAD, message, client.create_function, **{**good, **change})


bad('Could not unzip uploaded file.', Code={'ZipFile': b'no archive'})
bad('Uploaded file must be a non-empty zip', Code={'ZipFile': archive({})})
bad('Could not unzip uploaded file.', Code={'ZipFile': archive({'../evil.py': 'x'})})
bad('Could not unzip uploaded file.', Code={'ZipFile': archive({'app.py': 'x'}, [('out', '/etc')])})
bad('Unzipped size must be smaller than 262144000 bytes',
    Code={'ZipFile': archive({'app.py': 'x', 'zeros': b'\0' * (250 * 1024 * 1024)})})
bad('Error occurred while GetObject. S3 Error Code: NoSuchBucket.',
    Code={'S3Bucket': 'bucket', 'S3Key': 'key'})
bad('Lambda was unable to configure your environment variables because the environment variables '
    'you have provided exceeded the 4KB limit.', Environment={'Variables': {'BIG': 'x' * 5000}})
bad('Lambda was unable to configure your environment variables because the environment variables '
    'you have provided contains reserved keys', Environment={'Variables': {'AWS_REGION': 'x'}})
bad('The runtime parameter of java21 is not supported', Runtime='java21', Handler='a.B::c')
bad('container images are not run here', PackageType='Image', Code={'ImageUri': 'a/b:c'})
without = {key: value for key, value in good.items() if key != 'Handler'}
refused(400, BAD, 'Runtime and Handler are mandatory parameters', client.create_function, **without)
lax = boto3.client('lambda', config=botocore.config.Config(parameter_validation=False))
error = refused(400, 'ValidationException', '1 validation error detected: Value',
                lax.create_function, **{**good, 'MemorySize': 64})
assert 'memorySize' in error['Error']['Message'] and 'Type' not in error, error
error = refused(400, 'ValidationException', '2 validation errors detected:',
                lax.create_function, **{**good, 'Timeout': 0, 'MemorySize': 64})
bad("Value cobol at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [",
    Runtime='cobol')
refused(400, 'ValidationException', '1 validation error detected: Value',
        lax.create_function, **{**good, 'FunctionName': 'a/b'})
assert client.list_functions()['Functions'] == [], 'none of these has left anything'

create()
refused(409, 'ResourceConflictException', 'Function already exist: hello', client.create_function, **good)
refused(400, BAD, 'Please provide a source for function code.',
        lax.update_function_code, FunctionName='hello')
far = boto3.client('lambda', region_name='eu-west-1')
refused(404, 'ResourceNotFoundException', "Functions from 'us-east-1' are not reachable in this region",
        far.get_function, FunctionName='arn:aws:lambda:us-east-1:000000000000:function:hello')
refused(404, 'ResourceNotFoundException',
        'Function not found: arn:aws:lambda:eu-west-1:000000000000:function:hello',
        far.get_function, FunctionName='hello')
refused(400, 'InvalidRequestContentException', 'Could not parse request body into json',
        client.invoke, FunctionName='hello', Payload=b'{')
refused(413, 'RequestTooLargeException', f'{6291456 + 1} byte payload is too large',
        client.invoke, FunctionName='hello', Payload=b'"' + b'x' * 6291455 + b'"')
error = refused(501, 'UnknownOperationException', 'the operation ListCapacityProviders',
                client.list_capacity_providers)
# A handler that is missing is known at its first start.
create('lost', Handler='app.missing')
answer = client.invoke(FunctionName='lost')
assert answer['FunctionError'] == 'Unhandled'
assert json.loads(answer['Payload'].read())['errorType'] == 'Runtime.HandlerNotFound'

# A client that waits for leave to send a body is refused one that is too large, and sends nothing;
# others hear it once they have sent all.
import os, socket, urllib.parse
door = urllib.parse.urlsplit(os.environ['AWS_ENDPOINT_URL'])
SIGNED = ('Authorization: AWS4-HMAC-SHA256 Credential=000000000000/20260101/us-east-1/lambda/aws4_request, '
          'SignedHeaders=host, Signature=0')


def waiting(path, length, body=b''):
    with socket.create_connection((door.hostname, door.port)) as peer:
        head = [f'POST /2015-03-31/functions{path} HTTP/1.1', f'Host: {door.netloc}', SIGNED,
                f'Content-Length: {length}', 'Expect: 100-continue', 'Connection: close', '', '']
        peer.sendall('\r\n'.join(head).encode())
        came = peer.recv(25)
        if came.startswith(b'HTTP/1.1 100'):
            peer.sendall(body)
            came = b''
        while some := peer.recv(65536):
            came += some
    head, _, body = came.partition(b'\r\n\r\n')
    lines = head.decode().split('\r\n')
    return lines[0].split()[1], dict(line.split(': ', 1) for line in lines[1:]), json.loads(body)


status, headers, body = waiting('/hello/invocations', 7_000_000)
assert (status, headers['x-amzn-errortype']) == ('413', 'RequestTooLargeException'), (status, headers)
assert body['message'].startswith('7000000 byte payload is too large for the RequestResponse'), body
for length in (80_000_000, 400_000_000, 2 ** 50):
    status, headers, body = waiting('', length)
    assert (status, headers['x-amzn-errortype']) == ('413', 'RequestEntityTooLargeException'), (status, headers)
    assert body['message'] == 'Request must be smaller than 70167211 bytes for the CreateFunction operation', body
status, headers, body = waiting('/hello/invocations', 8, b'{"n": 1}')
assert (status, body['event']) == ('200', {'n': 1}), (status, headers, body)
refused(413, 'RequestEntityTooLargeException', 'Request must be smaller than 70167211 bytes for the CreateFunction',
        client.create_function, **{**good, 'FunctionName': 'large', 'Code': {'ZipFile': b'x' * 60_000_000}})

# What an operation on a function makes of a version of it, or of an alias.
create('whole', Publish=True)
client.create_alias(FunctionName='whole', Name='live', FunctionVersion='1')
for named in ('whole:1', 'whole:live', 'arn:aws:lambda:us-east-1:000000000000:function:whole:live'):
    for call, more in ((client.update_function_code, {'ZipFile': good['Code']['ZipFile']}),
                       (client.update_function_configuration, {'Timeout': 5}),
                       (client.put_function_concurrency, {'ReservedConcurrentExecutions': 1}),
                       (client.delete_function_concurrency, {}), (client.publish_version, {})):
        refused(400, BAD, 'This operation is permitted on Lambda functions only. Aliases and versions do not '
                'support this operation. Please specify either a function name or an unqualified function ARN.',
                call, FunctionName=named, **more)
assert client.get_function_configuration(FunctionName='whole')['Timeout'] == 3
assert client.update_function_configuration(FunctionName='whole:$LATEST', Timeout=5)['Timeout'] == 5

# Tags that are the service's own, levels of a log without any, configs that are not there.
new = {**good, 'FunctionName': 'new'}
TAGS = 'System tags (aws:*) cannot be added, changed or removed.'
refused(400, BAD, TAGS, client.create_function, **new, Tags={'aws:cloudformation:stack-name': 'x'})
refused(400, BAD, TAGS, client.tag_resource, Tags={'aws:x': 'y'},
        Resource='arn:aws:lambda:us-east-1:000000000000:function:whole')
LEVELS = 'ApplicationLogLevel and SystemLogLevel are not supported when LogFormat is set to Text.'
for levels in ({'ApplicationLogLevel': 'DEBUG'}, {'SystemLogLevel': 'WARN'}):
    refused(400, BAD, LEVELS, client.create_function, **new, LoggingConfig={**levels, 'LogFormat': 'Text'})
    refused(400, BAD, LEVELS, client.create_function, **new, LoggingConfig=levels)
    refused(400, BAD, LEVELS, client.update_function_configuration, FunctionName='whole', LoggingConfig=levels)
client.update_function_configuration(FunctionName='whole', LoggingConfig={'LogFormat': 'JSON'})
changed = client.update_function_configuration(FunctionName='whole', LoggingConfig={'ApplicationLogLevel': 'DEBUG'})
assert changed['LoggingConfig']['ApplicationLogLevel'] == 'DEBUG', changed
CONFIG = 'arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0'
GONE = 'The code signing configuration cannot be found. Check that the provided code signing configuration is not deleted'
refused(404, 'CodeSigningConfigNotFoundException', GONE, client.create_function, **new, CodeSigningConfigArn=CONFIG)
refused(404, 'CodeSigningConfigNotFoundException', GONE, client.put_function_code_signing_config,
        FunctionName='whole', CodeSigningConfigArn=CONFIG)
client.delete_function_code_signing_config(FunctionName='whole')
for call, more in ((client.get_code_signing_config, {}), (client.delete_code_signing_config, {}),
                   (client.update_code_signing_config, {'Description': 'x'}),
                   (client.list_functions_by_code_signing_config, {})):
    refused(404, 'ResourceNotFoundException', f'The Lambda code signing configuration {CONFIG} can not be found.',
            call, CodeSigningConfigArn=CONFIG, **more)
mapping = '0f2f7f8a-0000-4000-8000-000000000000'
for call in (client.get_event_source_mapping, client.update_event_source_mapping, client.delete_event_source_mapping):
    refused(404, 'ResourceNotFoundException', 'The resource you requested does not exist.', call, UUID=mapping)
client.delete_provisioned_concurrency_config(FunctionName='whole', Qualifier='live')
refused(400, BAD, 'The function resource provided must be an alias or a published version.',
        client.delete_provisioned_concurrency_config, FunctionName='whole', Qualifier='$LATEST')

refused(400, BAD, 'FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action', client.add_permission,
        FunctionName='whole', StatementId='x', Action='lambda:InvokeFunction', Principal='*', FunctionUrlAuthType='NONE')

# A session policy must be one.
sts = boto3.client('sts')
session = {'RoleArn': 'arn:aws:iam::000000000000:role/r', 'RoleSessionName': 'name'}
for policy, words in (('{', 'The policy is not in the valid JSON format.'), ('[]', 'Syntax errors in policy.'),
                      ('{"Statement": "all"}', 'Syntax errors in policy.')):
    refused(400, 'MalformedPolicyDocument', words, sts.assume_role, **session, Policy=policy)
sts.assume_role(**session, Policy='{"Version":"2012-10-17","Statement":[]}')

# Without any signature, each is told in the form that its client reads.
import urllib.error, urllib.request
for path, kind, form in (('/2015-03-31/functions/', 'application/x-www-form-urlencoded', '{"message":"Missing'),
                         ('/2015-03-31/functions/', 'application/json', '{"message":"Missing'),
                         ('/', 'application/x-www-form-urlencoded', '<ErrorResponse>')):
    asked = urllib.request.Request(f'{door.scheme}://{door.netloc}{path}', data=b'Action=GetCallerIdentity',
                                   headers={'Content-Type': kind})
    try:
        urllib.request.urlopen(asked)
        raise SystemExit('an unsigned call is answered')
    except urllib.error.HTTPError as error:
        said = error.read().decode()
        assert error.code == 403 and said.startswith(form), said
