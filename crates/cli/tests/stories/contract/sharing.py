# Layers and policies: what is shared between functions and accounts.
LAYER = 'arn:aws:lambda:us-east-1:000000000000:layer:tools'
content = archive({'python/tools.py': 'NAME = "one"', 'bin/run': 'x'}, [('bin/alias', 'run')])
one = client.publish_layer_version(
    LayerName='tools', Description='tools', Content={'ZipFile': content},
    CompatibleRuntimes=['python3.12'], CompatibleArchitectures=['x86_64'], LicenseInfo='MIT')
assert one['ResponseMetadata']['HTTPStatusCode'] == 201
assert (one['LayerVersionArn'], one['Version']) == (f'{LAYER}:1', 1), one
assert one['Content']['CodeSize'] == len(content)
assert urllib.request.urlopen(one['Content']['Location']).read() == content
two = client.publish_layer_version(
    LayerName='tools', Content={'ZipFile': archive({'python/tools.py': 'NAME = "two"'})})
assert two['Version'] == 2 and 'LicenseInfo' not in two, two
other = client.publish_layer_version(
    LayerName='more', Content={'ZipFile': archive({'python/tools.py': 'NAME = "more"', 'x': ''})})
USES = """
import os, tools
def handler(event, context):
    return {'name': tools.NAME, 'opt': sorted(os.listdir('/opt'))}
"""
made = create(files={'app.py': USES}, Layers=[one['LayerVersionArn']])
assert [it['Arn'] for it in made['Layers']] == [f'{LAYER}:1'], made
assert run()[0] == {'name': 'one', 'opt': ['bin', 'python']}
# Later layers lie over earlier ones.
client.update_function_configuration(
    FunctionName='hello', Layers=[two['LayerVersionArn'], other['LayerVersionArn']])
assert run()[0] == {'name': 'more', 'opt': ['python', 'x']}
refused(400, 'InvalidParameterValueException', f'Layer version {LAYER}:9 does not exist.',
        client.update_function_configuration, FunctionName='hello', Layers=[f'{LAYER}:9'])
refused(400, 'InvalidParameterValueException', 'Two different versions of the same layer',
        client.update_function_configuration, FunctionName='hello',
        Layers=[f'{LAYER}:1', f'{LAYER}:2'])
assert client.get_layer_version(LayerName='tools', VersionNumber=1)['LicenseInfo'] == 'MIT'
assert client.get_layer_version_by_arn(Arn=f'{LAYER}:2')['Version'] == 2
listed = client.list_layer_versions(LayerName='tools')['LayerVersions']
assert [it['Version'] for it in listed] == [2, 1]
listed = client.list_layers(CompatibleRuntime='python3.12')['Layers']
assert [(it['LayerName'], it['LatestMatchingVersion']['Version']) for it in listed] == [('tools', 1)]
client.delete_layer_version(LayerName='tools', VersionNumber=2)
refused(404, 'ResourceNotFoundException', 'The resource you requested does not exist.',
        client.get_layer_version, LayerName='tools', VersionNumber=2)
assert run()[0]['name'] == 'more', 'a function keeps what it has'

# Another account: its access key is its number here.
stranger = boto3.client('lambda', aws_access_key_id='123456789012', aws_secret_access_key='any')
refused(403, 'AccessDeniedException', 'User: arn:aws:iam::123456789012:root is not authorized to perform: '
        f'lambda:GetLayerVersion on resource: {LAYER}:1 because no resource-based policy allows the '
        'lambda:GetLayerVersion action',
        stranger.get_layer_version, LayerName=LAYER, VersionNumber=1)
added = client.add_layer_version_permission(
    LayerName='tools', VersionNumber=1, StatementId='all', Action='lambda:GetLayerVersion', Principal='*')
assert json.loads(added['Statement']) == {
    'Sid': 'all', 'Effect': 'Allow', 'Principal': '*', 'Action': 'lambda:GetLayerVersion',
    'Resource': f'{LAYER}:1'}, added
stranger.get_layer_version(LayerName=LAYER, VersionNumber=1)
policy = client.get_layer_version_policy(LayerName='tools', VersionNumber=1)
assert policy['RevisionId'] == added['RevisionId']
client.remove_layer_version_permission(LayerName='tools', VersionNumber=1, StatementId='all')
refused(404, 'ResourceNotFoundException', 'No policy is associated with the given resource.',
        client.get_layer_version_policy, LayerName='tools', VersionNumber=1)

ARN = 'arn:aws:lambda:us-east-1:000000000000:function:hello'
for call, action in ((stranger.invoke, 'InvokeFunction'), (stranger.get_function, 'GetFunction'),
                     (stranger.delete_function, 'DeleteFunction'), (stranger.get_policy, 'GetPolicy')):
    refused(403, 'AccessDeniedException', 'User: arn:aws:iam::123456789012:root is not authorized to perform: '
            f'lambda:{action} on resource: {ARN} because no resource-based policy allows the lambda:{action} action',
            call, FunctionName=ARN)
refused(404, 'ResourceNotFoundException', 'The resource you requested does not exist.',
        client.get_policy, FunctionName='hello')
added = client.add_permission(
    FunctionName='hello', StatementId='friend', Action='lambda:InvokeFunction', Principal='123456789012')
assert json.loads(added['Statement'])['Principal'] == {'AWS': 'arn:aws:iam::123456789012:root'}
assert stranger.invoke(FunctionName=ARN)['StatusCode'] == 200
refused(409, 'ResourceConflictException', 'The statement id (friend) provided already exists.',
        client.add_permission, FunctionName='hello', StatementId='friend',
        Action='lambda:InvokeFunction', Principal='*')
bucket = client.add_permission(
    FunctionName='hello', StatementId='bucket', Action='lambda:InvokeFunction',
    Principal='s3.amazonaws.com', SourceArn='arn:aws:s3:::pictures', SourceAccount='000000000000')
assert json.loads(bucket['Statement']) == {
    'Sid': 'bucket', 'Effect': 'Allow', 'Principal': {'Service': 's3.amazonaws.com'},
    'Action': 'lambda:InvokeFunction', 'Resource': ARN,
    'Condition': {'StringEquals': {'AWS:SourceAccount': '000000000000'},
                  'ArnLike': {'AWS:SourceArn': 'arn:aws:s3:::pictures'}}}, bucket
policy = client.get_policy(FunctionName='hello')
document = json.loads(policy['Policy'])
assert (document['Version'], document['Id']) == ('2012-10-17', 'default')
assert [it['Sid'] for it in document['Statement']] == ['friend', 'bucket']
refused(412, 'PreconditionFailedException', 'The Revision Id provided does not match',
        client.remove_permission, FunctionName='hello', StatementId='friend', RevisionId='other')
client.remove_permission(FunctionName='hello', StatementId='friend', RevisionId=policy['RevisionId'])
refused(403, 'AccessDeniedException', '', stranger.invoke, FunctionName=ARN)
refused(404, 'ResourceNotFoundException', 'Statement friend is not found in resource policy.',
        client.remove_permission, FunctionName='hello', StatementId='friend')
