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
