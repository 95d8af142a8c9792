# What is so, found out by asking: printed as JSON, of which the table in docs/parity.md is made.
import re
from botocore.config import Config
from botocore.parsers import ResponseParserError

lax = Config(parameter_validation=False, inject_host_prefix=False, retries=dict(total_max_attempts=1))


def least(shape, name=''):
    """The least that a shape takes."""
    if shape.type_name == 'structure':
        return {key: least(shape.members[key], key) for key in shape.required_members}
    if shape.type_name == 'list':
        return []
    if shape.type_name == 'map':
        return {}
    if shape.type_name in ('integer', 'long', 'double', 'float'):
        return 1
    if shape.type_name == 'boolean':
        return False
    if shape.type_name == 'blob':
        return b'{}'
    if shape.type_name == 'timestamp':
        return 0
    return getattr(shape, 'enum', None) and shape.enum[0] or 'nobody'


def operations(service):
    """Whether each operation of a service's public model is served."""
    asked = boto3.client(service, config=lax)
    rows = {}
    for name in asked.meta.service_model.operation_names:
        model = asked.meta.service_model.operation_model(name)
        method = botocore.xform_name(name)
        try:
            getattr(asked, method)(**(least(model.input_shape) if model.input_shape else {}))
            status = 200
        except ResponseParserError:
            # Nobody can tell whose it is: it comes without a signature.
            assert model.auth_type == 'none', name
            status = 501
        except ClientError as error:
            status = error.response['ResponseMetadata']['HTTPStatusCode']
            if status == 501:
                # Whoever is refused is told what it is that is missing.
                assert name in error.response['Error']['Message'], error
        assert status < 500 or status == 501, (name, status)
        rows[name] = (status != 501, method)
    return rows


SEEN = {}
client.meta.events.register('before-parse.lambda.*', lambda response_dict, **_: SEEN.update(response_dict))
answers = []


def answer(text):
    """A row of the table; it is in it only if what it says holds."""
    def check(function):
        try:
            function()
        except Exception as error:
            raise SystemExit(f'{text}: {type(error).__name__}: {error}')
        answers.append(text)
    return check


def ends(name, code, payload=b'{}', handler='app.handler', runtime='python3.12', files=None, **more):
    """What an invocation of this code ends in: payload, and its log."""
    create(name, files or {'app.py': code}, Runtime=runtime, Handler=handler, **more)
    said = client.invoke(FunctionName=name, Payload=payload, LogType='Tail')
    request = said['ResponseMetadata']['RequestId']
    body = said['Payload'].read().decode().replace(request, 'ID')
    log = base64.b64decode(said['LogResult']).decode().replace(request, 'ID')
    client.delete_function(FunctionName=name)
    assert said['StatusCode'] == 200
    assert said.get('FunctionError', 'Unhandled') == 'Unhandled', said
    return json.loads(body), said.get('FunctionError'), log


def error_of(call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        body = json.loads(SEEN['body'])
        headers = {name.lower(): value for name, value in SEEN['headers'].items()}
        assert headers['x-amzn-errortype'].split(':')[0] == error.response['Error']['Code'], headers
        return SEEN['status_code'], error.response['Error']['Code'], body
    raise AssertionError('no error')


def equal(found, wanted):
    assert found == wanted, f'{found} instead of {wanted}'


create()


@answer('CreateFunction answers 201, `Pending` with its reason and code, and no `LastUpdateStatus`; then `Active` and `Successful` under another revision')
def _():
    made = client.create_function(FunctionName='made', Runtime='python3.12', Role=ROLE,
                                  Handler='app.handler', Code={'ZipFile': archive({'app.py': HELLO})})
    equal(made['ResponseMetadata']['HTTPStatusCode'], 201)
    equal((made['State'], made['StateReason'], made['StateReasonCode'], made.get('LastUpdateStatus')),
          ('Pending', 'The function is being created.', 'Creating', None))
    client.get_waiter('function_active_v2').wait(FunctionName='made')
    now = client.get_function_configuration(FunctionName='made')
    equal((now['State'], now['LastUpdateStatus']), ('Active', 'Successful'))
    assert now['RevisionId'] != made['RevisionId']


@answer('UpdateFunctionConfiguration answers `Active` and `InProgress` with its reason and code')
def _():
    changed = client.update_function_configuration(FunctionName='made', Timeout=4)
    equal((changed['State'], changed['LastUpdateStatus'], changed['LastUpdateStatusReason'],
           changed['LastUpdateStatusReasonCode']),
          ('Active', 'InProgress', 'The function is being created.', 'Creating'))
    client.get_waiter('function_updated_v2').wait(FunctionName='made')


@answer('Members that have no value are absent, not empty')
def _():
    client.get_function_configuration(FunctionName='made')
    told = json.loads(SEEN['body'])
    for name in ['KMSKeyArn', 'Layers', 'VpcConfig', 'StateReason', 'StateReasonCode', 'Environment',
                 'DeadLetterConfig', 'SigningJobArn', 'MasterArn', 'ImageConfigResponse']:
        assert name not in told, name


@answer('What is not chosen is told as Lambda tells it: `LoggingConfig`, `SnapStart`, `TracingConfig`, `EphemeralStorage`, `PackageType`, `Architectures`, `RuntimeVersionConfig`')
def _():
    told = client.get_function_configuration(FunctionName='made')
    equal(told['LoggingConfig'], {'LogFormat': 'Text', 'LogGroup': '/aws/lambda/made'})
    equal(told['SnapStart'], {'ApplyOn': 'None', 'OptimizationStatus': 'Off'})
    equal(told['TracingConfig'], {'Mode': 'PassThrough'})
    equal(told['EphemeralStorage'], {'Size': 512})
    equal((told['PackageType'], told['Architectures']), ('Zip', ['x86_64']))
    assert re.fullmatch(r'arn:aws:lambda:us-east-1::runtime:[0-9a-f]{64}',
                        told['RuntimeVersionConfig']['RuntimeVersionArn'])


@answer('JSON logs come with the levels `INFO` and `INFO`')
def _():
    client.update_function_configuration(FunctionName='made', LoggingConfig={'LogFormat': 'JSON'})
    told = client.get_function_configuration(FunctionName='made')['LoggingConfig']
    equal((told['ApplicationLogLevel'], told['SystemLogLevel']), ('INFO', 'INFO'))


@answer('DeleteFunction answers 204 without a body; what is gone is not found')
def _():
    gone = client.delete_function(FunctionName='made')
    equal((gone['ResponseMetadata']['HTTPStatusCode'], SEEN['body']), (204, b''))
    equal(error_of(client.get_function, FunctionName='made')[0], 404)


@answer('ResourceNotFoundException is 404 with `Message` and `Type`; the qualifier is named only where one was given')
def _():
    arn = 'arn:aws:lambda:us-east-1:000000000000:function:nobody'
    equal(error_of(client.get_function, FunctionName='nobody'), (404, 'ResourceNotFoundException',
          {'Type': 'User', 'Message': f'Function not found: {arn}'}))
    equal(error_of(client.get_function, FunctionName='nobody', Qualifier='$LATEST')[2]['Message'],
          f'Function not found: {arn}:$LATEST')


@answer('InvalidParameterValueException is 400, ResourceConflictException 409, PreconditionFailedException 412, each with `message` and `Type`')
def _():
    settings = dict(FunctionName='hello', Runtime='python3.12', Role=ROLE, Handler='app.handler')
    code = {'ZipFile': archive({'app.py': HELLO})}
    found = [error_of(client.create_function, Code={'ZipFile': b'no archive'}, **{**settings, 'FunctionName': 'other'}),
             error_of(client.create_function, Code=code, **settings),
             error_of(client.update_function_configuration, FunctionName='hello', RevisionId='old')]
    equal([(status, kind) for status, kind, _ in found],
          [(400, 'InvalidParameterValueException'), (409, 'ResourceConflictException'),
           (412, 'PreconditionFailedException')])
    for _, _, body in found:
        equal((body['Type'], sorted(body)), ('User', ['Type', 'message']))


@answer('ValidationException is 400 with every fault in its message and no `Type`')
def _():
    asked = boto3.client('lambda', config=lax)
    asked.meta.events.register('before-parse.lambda.*', lambda response_dict, **_: SEEN.update(response_dict))
    status, kind, body = error_of(asked.update_function_configuration, FunctionName='hello', Timeout=0, MemorySize=1)
    equal((status, kind, sorted(body)), (400, 'ValidationException', ['message']))
    assert body['message'].startswith('2 validation errors detected: Value '), body


@answer('A function of another region is named with both regions; nothing else of it is told')
def _():
    found = error_of(client.get_function, FunctionName='arn:aws:lambda:eu-west-1:000000000000:function:hello')
    equal(found[0], 404)
    equal(found[2]['Message'], "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')")


@answer('Invoke answers 200 with the version that ran, a request id, `application/json` and `x-amzn-Remapped-Content-Length: 0`')
def _():
    said = client.invoke(FunctionName='hello', Payload=b'{"n": 1}')
    headers = said['ResponseMetadata']['HTTPHeaders']
    equal((said['StatusCode'], said['ExecutedVersion']), (200, '$LATEST'))
    equal((headers['content-type'], headers['x-amzn-remapped-content-length']), ('application/json', '0'))
    assert re.fullmatch(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', headers['x-amzn-requestid'])
    assert headers['x-amzn-trace-id'].startswith('root='.capitalize()), headers


@answer('Invoke with `Event` answers 202 and with `DryRun` 204, both without a body; only a run has an executed version')
def _():
    for kind, status in [('Event', 202), ('DryRun', 204)]:
        said = client.invoke(FunctionName='hello', InvocationType=kind, Payload=b'{}')
        equal((said['StatusCode'], said['Payload'].read()), (status, b''))
        assert kind != 'Event' or 'ExecutedVersion' not in said


@answer('A handler that answers nothing answers `null`')
def _():
    equal(ends('nothing', 'def handler(event, context): pass')[:2], (None, None))


@answer('Time that runs out is `Sandbox.Timedout`, with a line in the log')
def _():
    body, error, log = ends('late', 'import time\ndef handler(event, context): time.sleep(9)', Timeout=1)
    equal((error, body), ('Unhandled', {'errorType': 'Sandbox.Timedout',
          'errorMessage': 'RequestId: ID Error: Task timed out after 1.00 seconds'}))
    assert 'ID Task timed out after 1.00 seconds' in log and 'Status: timeout' in log, log


@answer('A runtime that exits is `Runtime.ExitError`, with its status or signal')
def _():
    code = 'import os, signal\ndef handler(event, context): {}'
    words = {'os._exit(0)': 'Runtime exited without providing a reason',
             'os._exit(3)': 'Runtime exited with error: exit status 3',
             'os.kill(os.getpid(), signal.SIGKILL)': 'Runtime exited with error: signal: killed'}
    for number, (what, reason) in enumerate(words.items()):
        body, error, log = ends(f'exits-{number}', code.format(what))
        equal((error, body), ('Unhandled', {'errorType': 'Runtime.ExitError',
                                            'errorMessage': f'RequestId: ID Error: {reason}'}))


@answer('An exec wrapper that is not there is exit status 127')
def _():
    body, error, _ = ends('wrapped', HELLO, Environment={'Variables': {'AWS_LAMBDA_EXEC_WRAPPER': '/opt/none'}})
    equal(body['errorMessage'], 'RequestId: ID Error: Runtime exited with error: exit status 127')


@answer('Errors of Python handlers have `errorMessage`, `errorType`, `requestId` and `stackTrace`')
def _():
    body, error, log = ends('raises', 'def handler(event, context): raise ValueError("no good")')
    equal((error, list(body)), ('Unhandled', ['errorMessage', 'errorType', 'requestId', 'stackTrace']))
    equal((body['errorMessage'], body['errorType'], body['requestId']), ('no good', 'ValueError', 'ID'))
    assert log.count('[ERROR] ValueError: no good') == 1, log


@answer('Errors of Node.js handlers have `errorType`, `errorMessage` and `trace`')
def _():
    code = 'exports.handler = async () => { throw new TypeError("no good") }'
    body, error, _ = ends('throws', '', runtime='nodejs20.x', handler='index.handler', files={'index.js': code})
    equal((error, list(body)[:3]), ('Unhandled', ['errorType', 'errorMessage', 'trace']))
    equal((body['errorType'], body['errorMessage']), ('TypeError', 'no good'))


@answer('Modules and handlers that are not there are `Runtime.ImportModuleError` and `Runtime.HandlerNotFound`; code that cannot be read is `Runtime.UserCodeSyntaxError`')
def _():
    words = {'import nowhere': ('Runtime.ImportModuleError', "Unable to import module 'app': No module named 'nowhere'"),
             'x = 1': ('Runtime.HandlerNotFound', "Handler 'handler' missing on module 'app'"),
             'def handler(:': ('Runtime.UserCodeSyntaxError', "Syntax error in module 'app': ")}
    for number, (code, (kind, message)) in enumerate(words.items()):
        body, error, _ = ends(f'broken-{number}', code)
        equal((error, body['errorType']), ('Unhandled', kind))
        assert body['errorMessage'].startswith(message), body


@answer('An answer over 6 MB is `Function.ResponseSizeTooLarge`')
def _():
    body, error, _ = ends('large', 'def handler(event, context): return "x" * 6291557')
    equal((error, body), ('Unhandled', {'errorType': 'Function.ResponseSizeTooLarge', 'errorMessage':
          'Response payload size exceeded maximum allowed payload size (6291556 bytes).'}))


@answer('An event that is no JSON is 400 InvalidRequestContentException; one over 6 MB, or over 1 MB with `Event`, is 413 RequestTooLargeException')
def _():
    found = error_of(client.invoke, FunctionName='hello', Payload=b'{')
    equal(found[:2], (400, 'InvalidRequestContentException'))
    assert found[2]['message'].startswith('Could not parse request body into json: '), found
    for kind, size in [('RequestResponse', 6291557), ('Event', 1048577)]:
        found = error_of(client.invoke, FunctionName='hello', InvocationType=kind,
                         Payload=json.dumps('x' * (size - 2)))
        equal(found[:2], (413, 'RequestTooLargeException'))
        assert str(size) in found[2]['message'], found


@answer('Where no concurrency is left it is 429 TooManyRequestsException with its `Reason` and `Rate Exceeded.`')
def _():
    client.put_function_concurrency(FunctionName='hello', ReservedConcurrentExecutions=0)
    status, kind, body = error_of(client.invoke, FunctionName='hello')
    client.delete_function_concurrency(FunctionName='hello')
    equal((status, kind, body), (429, 'TooManyRequestsException',
          {'Reason': 'ReservedFunctionConcurrentInvocationLimitExceeded', 'Type': 'User',
           'message': 'Rate Exceeded.'}))


@answer('InvokeWithResponseStream answers chunks and a last event with the log')
def _():
    said = client.invoke_with_response_stream(FunctionName='hello', LogType='Tail')
    events = list(said['EventStream'])
    equal((said['StatusCode'], said['ExecutedVersion']), (200, '$LATEST'))
    assert all('PayloadChunk' in event for event in events[:-1]) and len(events) > 1, events
    assert 'REPORT' in base64.b64decode(events[-1]['InvokeComplete']['LogResult']).decode()


@answer('START, END and REPORT lines are as in Lambda, and INIT_START where an instance was started')
def _():
    _, _, log = ends('logs', 'def handler(event, context): print("said")')
    pattern = (r'START RequestId: ID Version: \$LATEST\nsaid\nEND RequestId: ID\nREPORT RequestId: ID\t'
               r'Duration: \d+\.\d\d ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\t'
               r'Max Memory Used: \d+ MB\tInit Duration: \d+\.\d\d ms\t\n')
    assert re.search(pattern, log), log


@answer('With JSON logs the platform writes `platform.start` and `platform.report` records')
def _():
    _, _, log = ends('json-logs', 'def handler(event, context): pass', LoggingConfig={'LogFormat': 'JSON'})
    records = [json.loads(line) for line in log.splitlines()]
    kinds = [record.get('type') for record in records]
    assert 'platform.start' in kinds and 'platform.report' in kinds, kinds
    assert all({'time', 'type', 'record'} <= set(record) for record in records), records


@answer('Functions find the environment that Lambda gives them')
def _():
    variables, _, _ = ends('environment', 'import os\ndef handler(event, context): return dict(os.environ)')
    wanted = {
        'AWS_EXECUTION_ENV': 'AWS_Lambda_python3.12', 'AWS_LAMBDA_FUNCTION_NAME': 'environment',
        'AWS_LAMBDA_FUNCTION_VERSION': '$LATEST', 'AWS_LAMBDA_FUNCTION_MEMORY_SIZE': '128',
        'AWS_LAMBDA_INITIALIZATION_TYPE': 'on-demand', 'AWS_REGION': 'us-east-1',
        'AWS_DEFAULT_REGION': 'us-east-1', 'AWS_LAMBDA_LOG_GROUP_NAME': '/aws/lambda/environment',
        'AWS_XRAY_CONTEXT_MISSING': 'LOG_ERROR', 'LAMBDA_RUNTIME_DIR': '/var/runtime',
        'LAMBDA_TASK_ROOT': '/var/task', 'LANG': 'en_US.UTF-8', 'TZ': ':UTC', '_HANDLER': 'app.handler'}
    equal({name: variables.get(name) for name in wanted}, wanted)
    assert re.fullmatch(r'\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}', variables['AWS_LAMBDA_LOG_STREAM_NAME'])
    for name in ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'AWS_LAMBDA_RUNTIME_API',
                 '_X_AMZN_TRACE_ID', 'AWS_ENDPOINT_URL', 'PATH', 'LD_LIBRARY_PATH', 'PYTHONPATH']:
        assert variables.get(name), name


@answer('An event invoke config has `OnSuccess` and `OnFailure`, present and empty')
def _():
    told = client.put_function_event_invoke_config(FunctionName='hello', MaximumRetryAttempts=1)
    equal(told['DestinationConfig'], {'OnSuccess': {}, 'OnFailure': {}})
    client.delete_function_event_invoke_config(FunctionName='hello')


@answer('What deploy tools read on every run is answered: code signing, recursion, runtime management, concurrency, policies that are not there')
def _():
    equal(client.get_function_code_signing_config(FunctionName='hello')['FunctionName'], 'hello')
    equal(client.get_function_recursion_config(FunctionName='hello')['RecursiveLoop'], 'Terminate')
    equal(client.get_runtime_management_config(FunctionName='hello')['UpdateRuntimeOn'], 'Auto')
    assert 'ReservedConcurrentExecutions' not in client.get_function_concurrency(FunctionName='hello')
    equal(error_of(client.get_policy, FunctionName='hello')[:2], (404, 'ResourceNotFoundException'))
    equal(error_of(client.get_provisioned_concurrency_config, FunctionName='hello', Qualifier='1')[0], 404)


@answer('A function URL answers an object with `statusCode` as a response and anything else as JSON; an error is 502 `Internal Server Error`')
def _():
    code = ('def handler(event, context):\n  path = event["rawPath"]\n'
            '  if path == "/response": return {"statusCode": 201, "body": "made", "headers": {"x-a": "b"}}\n'
            '  if path == "/object": return {"a": 1}\n  if path == "/text": return "text"\n  raise ValueError()\n')
    create('page', {'app.py': code})
    url = client.create_function_url_config(FunctionName='page', AuthType='NONE')['FunctionUrl']
    client.add_permission(FunctionName='page', StatementId='all', Principal='*',
                          Action='lambda:InvokeFunctionUrl', FunctionUrlAuthType='NONE')

    def get(path):
        try:
            with urllib.request.urlopen(url.rstrip('/') + path) as said:
                return said.status, said.headers['content-type'], said.read().decode()
        except urllib.error.HTTPError as said:
            return said.code, said.headers['content-type'], said.read().decode()
    equal(get('/response')[::2], (201, 'made'))
    equal(get('/object'), (200, 'application/json', '{"a": 1}'))
    equal(get('/text'), (200, 'application/json', 'text'))
    equal(get('/error')[::2], (502, 'Internal Server Error'))


@answer('The runtime management config is kept and told again')
def _():
    told = client.put_runtime_management_config(FunctionName='hello', UpdateRuntimeOn='FunctionUpdate')
    equal(told['UpdateRuntimeOn'], 'FunctionUpdate')
    equal(client.get_runtime_management_config(FunctionName='hello')['UpdateRuntimeOn'], 'FunctionUpdate')


@answer('STS knows who calls, and gives sessions and roles whose credentials work')
def _():
    sts = boto3.client('sts')
    equal(sts.get_caller_identity()['Account'], '000000000000')
    given = [sts.get_session_token()['Credentials'],
             sts.assume_role(RoleArn=ROLE, RoleSessionName='me')['Credentials']]
    arns = []
    for credentials in given:
        session = boto3.Session(credentials['AccessKeyId'], credentials['SecretAccessKey'],
                                credentials['SessionToken'])
        arns.append(session.client('sts').get_caller_identity()['Arn'])
        session.client('lambda').get_function(FunctionName='hello')
    assert arns[1] == 'arn:aws:sts::000000000000:assumed-role/runs/me', arns


runtimes = {}
SOURCES = {'python': ('app.handler', {'app.py': 'def handler(event, context): return "ran"'}),
           'nodejs': ('index.handler', {'index.js': 'exports.handler = async () => "ran"'})}
for runtime in client.meta.service_model.shape_for('Runtime').enum:
    kind = re.match('[a-z]+', runtime)[0]
    handler, files = SOURCES.get(kind, ('bootstrap', {'bootstrap': '#!/bin/sh\nexit 9\n'}))
    name = 'on-' + runtime.replace('.', '-')
    try:
        client.create_function(FunctionName=name, Runtime=runtime, Role=ROLE, Handler=handler,
                               Code={'ZipFile': archive(files)})
    except ClientError as error:
        assert error.response['Error']['Code'] == 'InvalidParameterValueException', error
        runtimes[runtime] = False
        continue
    said = client.invoke(FunctionName=name)
    body = json.loads(said['Payload'].read())
    if kind in SOURCES:
        assert body == 'ran', (runtime, body)
    else:
        assert body['errorType'] == 'Runtime.ExitError' and 'status 9' in body['errorMessage'], body
    runtimes[runtime] = True
    client.delete_function(FunctionName=name)

print(json.dumps(dict(answers=answers, runtimes=runtimes, operations={
    service: operations(service) for service in ['lambda', 'sts', 'logs']})))
