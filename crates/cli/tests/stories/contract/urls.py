# URLs of functions and aliases.
ARN = 'arn:aws:lambda:us-east-1:000000000000:function:hello'
PAGE = """
def handler(event, context):
    if event['rawPath'] == '/who': return event['requestContext']
    return {'statusCode': 201, 'body': context.function_version}
"""
create(files={'app.py': PAGE}, Publish=True)
refused(404, 'ResourceNotFoundException', 'The resource you requested does not exist.',
        client.get_function_url_config, FunctionName='hello')
made = client.create_function_url_config(FunctionName='hello', AuthType='NONE',
                                         Cors={'AllowOrigins': ['https://example.com'], 'MaxAge': 60})
assert made['ResponseMetadata']['HTTPStatusCode'] == 201
assert made['FunctionArn'] == ARN and made['AuthType'] == 'NONE', made
assert made['Cors'] == {'AllowOrigins': ['https://example.com'], 'MaxAge': 60}, made
assert 'InvokeMode' not in made and client.get_function_url_config(FunctionName='hello')['InvokeMode'] == 'BUFFERED'
# It is open to whom the policy lets in, and to nobody before.
def closed(url):
    try:
        urllib.request.urlopen(url)
        raise SystemExit('anybody is answered')
    except urllib.error.HTTPError as error:
        assert error.code == 403 and json.loads(error.read()) == {'Message': 'Forbidden'}
        return error.headers.get('x-dayfly-error')
def permit(sid, action='lambda:InvokeFunctionUrl', auth='NONE', **more):
    if auth: more['FunctionUrlAuthType'] = auth
    client.add_permission(FunctionName='hello', StatementId=sid, Action=action, Principal='*', **more)
assert 'lambda:InvokeFunctionUrl' in closed(made['FunctionUrl'])
permit('signed', auth='AWS_IAM')
permit('plain', action='lambda:InvokeFunction', auth=None)
permit('other', SourceAccount='123456789012')
client.add_permission(FunctionName='hello', StatementId='account', Action='lambda:InvokeFunctionUrl',
                      Principal='123456789012', FunctionUrlAuthType='NONE')
closed(made['FunctionUrl'])
permit('open', InvokedViaFunctionUrl=True)
answer = urllib.request.urlopen(made['FunctionUrl'])
assert (answer.status, answer.read()) == (201, b'$LATEST')
client.remove_permission(FunctionName='hello', StatementId='open')
closed(made['FunctionUrl'])
permit('open')
refused(409, 'ResourceConflictException', 'Failed to create function url config',
        client.create_function_url_config, FunctionName='hello', AuthType='NONE')
changed = client.update_function_url_config(FunctionName='hello', InvokeMode='RESPONSE_STREAM')
assert (changed['InvokeMode'], changed['Cors']['MaxAge']) == ('RESPONSE_STREAM', 60), changed
assert changed['FunctionUrl'] == made['FunctionUrl']
client.create_alias(FunctionName='hello', Name='live', FunctionVersion='1')
alias = client.create_function_url_config(FunctionName='hello', Qualifier='live', AuthType='NONE')
assert alias['FunctionArn'] == f'{ARN}:live' and alias['FunctionUrl'] != made['FunctionUrl']
host = alias['FunctionUrl'].split('/')[2]
port = host.rpartition(':')[2]
request = urllib.request.Request(f'http://127.0.0.1:{port}/', headers={'Host': host})
closed(request)
permit('open', Qualifier='live')
answer = urllib.request.urlopen(request)
assert (answer.status, answer.read()) == (201, b'1')
# The region is part of its name.
def at(host, method='GET'):
    asked = urllib.request.Request(f'http://127.0.0.1:{port}/', headers={'Host': host}, method=method)
    try:
        return urllib.request.urlopen(asked).status
    except urllib.error.HTTPError as error:
        kinds = {403: 'AccessDeniedException', 404: 'ResourceNotFoundException'}
        assert error.headers['x-amzn-errortype'] == kinds[error.code], error.headers
        return error.code
url_id, right = host.split('.')[0], host.replace('.localhost', '.on.aws').partition(':')[0]
wrong = host.replace('us-east-1', 'eu-west-1')
assert right == f'{url_id}.lambda-url.us-east-1.on.aws', right
assert at(right) == at(right.upper()) == 201
assert at(wrong) == at(wrong, 'OPTIONS') == at(right.replace('us-east-1', 'us-east-2')) == 404
assert at(host.replace(url_id, 'x' * 32)) == at(right.replace('us-east-1.', '')) == 404
client.update_function_url_config(FunctionName='hello', Qualifier='live', AuthType='AWS_IAM')
assert (at(host), at(wrong)) == (403, 404)
listed = client.list_function_url_configs(FunctionName='hello')['FunctionUrlConfigs']
assert [it['FunctionArn'] for it in listed] == [ARN, f'{ARN}:live'], listed
client.delete_function_url_config(FunctionName='hello', Qualifier='live')
client.delete_function_url_config(FunctionName='hello')
refused(404, 'ResourceNotFoundException', 'The resource you requested does not exist.',
        client.delete_function_url_config, FunctionName='hello')
try:
    urllib.request.urlopen(made['FunctionUrl'])
    raise SystemExit('it answers still')
except OSError:
    pass
# One that only signed callers may use.
signed = client.create_function_url_config(FunctionName='hello', AuthType='AWS_IAM')
assert closed(signed['FunctionUrl']) is None
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
def as_account(key, region='us-east-1', path=''):
    request = AWSRequest(method='GET', url=signed['FunctionUrl'] + path)
    SigV4Auth(Credentials(key, 'secret'), 'lambda', region).add_auth(request)
    prepared = request.prepare()
    return urllib.request.Request(prepared.url, headers=dict(prepared.headers))
answer = urllib.request.urlopen(as_account('000000000000'))
assert (answer.status, answer.read()) == (201, b'$LATEST')
assert 'us-east-1' in closed(as_account('000000000000', 'eu-west-1')), 'the region is part of what is signed'
told = json.load(urllib.request.urlopen(as_account('000000000000', path='who')))
assert (told['accountId'], told['authorizer']['iam']['accessKey']) == ('000000000000', '000000000000'), told
assert told['authorizer']['iam']['userArn'] == 'arn:aws:iam::000000000000:root', told
# Another account, where the policy lets it in.
assert urllib.request.urlopen(as_account('123456789012')).status == 201
client.remove_permission(FunctionName='hello', StatementId='signed')
closed(as_account('123456789012'))
client.add_permission(FunctionName='hello', StatementId='signed', Action='lambda:InvokeFunctionUrl',
                      Principal='arn:aws:iam::123456789012:root', FunctionUrlAuthType='AWS_IAM')
assert urllib.request.urlopen(as_account('123456789012')).status == 201
closed(as_account('210987654321'))
