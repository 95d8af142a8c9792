# What is not there, and what the service refuses by rules that its model does not have, in the words that
# were recorded from it.
MISS, BAD = 'ResourceNotFoundException', 'InvalidParameterValueException'
ARN = 'arn:aws:lambda:us-east-1:000000000000:function'
LAYER = 'arn:aws:lambda:us-east-1:000000000000:layer'
lax = boto3.client('lambda', config=botocore.config.Config(parameter_validation=False))
create(Publish=True)


def miss(message, call, **arguments):
    error = refused(404, MISS, message, call, **arguments)
    assert error['Error']['Message'] == message and (error['Message'], error['Type']) == (message, 'User'), error
    assert error['ResponseMetadata']['HTTPHeaders']['x-amzn-errortype'] == MISS, error


def bad(message, call, typed=True, **arguments):
    error = refused(400, BAD, message, call, **arguments)
    assert error['Error']['Message'] == error['message'] == message, error
    assert error.get('Type') == ('User' if typed else None), error


def stale(api, call, **arguments):
    message = f'The Revision Id provided does not match the latest Revision Id. Call the {api} API to retrieve ' \
        'the latest Revision Id'
    assert refused(412, 'PreconditionFailedException', message, call, **arguments)['message'] == message


# Aliases.
alias = dict(FunctionName='hello', Name='live', FunctionVersion='1')
weights = lambda **them: {'RoutingConfig': {'AdditionalVersionWeights': them}}
bad('Number of items in AdditionalVersionWeights cannot be greater than 1', client.create_alias,
    **alias, **weights(**{'1': 0.5, '2': 0.5}))
bad('Invalid function version 1. Function version 1 is already included in routing configuration.',
    client.create_alias, **alias, **weights(**{'1': 0.5}))
bad('$LATEST is not supported for an alias pointing to more than 1 version', client.create_alias, typed=False,
    **{**alias, 'FunctionVersion': '$LATEST'}, **weights(**{'1': 0.5}))
miss(f'Function not found: {ARN}:hello:9', client.create_alias, **alias, **weights(**{'9': 0.5}))
miss(f'Function not found: {ARN}:none:1', client.create_alias, **{**alias, 'FunctionName': 'none'})
client.create_alias(**alias)
miss(f'Cannot find alias arn: {ARN}:hello:none', client.update_alias, FunctionName='hello', Name='none')
stale('GetFunction/GetAlias', client.update_alias, **alias, RevisionId='other')

# Policies.
given = dict(FunctionName='hello', StatementId='s', Action='lambda:InvokeFunction', Principal='s3.amazonaws.com')
drop = dict(FunctionName='hello', StatementId='s')
miss('No policy is associated with the given resource.', client.remove_permission, **drop)
miss('The resource you requested does not exist.', client.get_policy, FunctionName='hello', Qualifier='9')
miss(f'Function not found: {ARN}:none', client.get_policy, FunctionName='none')
miss(f'Function not found: {ARN}:none', client.add_permission, **{**given, 'FunctionName': 'none'})
miss(f'Function not found: {ARN}:hello:42', client.add_permission, **given, Qualifier='42')
miss(f'Cannot find alias arn: {ARN}:hello:none', client.add_permission, **given, Qualifier='none')
miss(f'Cannot find alias arn: {ARN}:hello:none', client.remove_permission, **drop, Qualifier='none')
miss(f'No policy found for: {ARN}:none', client.remove_permission, FunctionName='none', StatementId='s')
bad('We currently do not support adding policies for $LATEST.', client.add_permission, **given, Qualifier='$LATEST')
for principal in ('invalid.example.com', '12', 'arn:aws:s3:::bucket', 'arn:aws:iam::12:root', '.amazonaws.com'):
    bad('The provided principal was invalid. Please check the principal and try again.',
        client.add_permission, **{**given, 'Principal': principal})
for at, principal in enumerate((
        '*', '123456789012', 'arn:aws:iam::123456789012:role/some/role', 'arn:aws:sts::123456789012:assumed-role/a/b',
        'logs.eu-west-1.amazonaws.com', 'alexa-appkit.amazon.com')):
    client.add_permission(**{**given, 'Principal': principal, 'StatementId': f'may-{at}'})
stale('GetPolicy', client.add_permission, **given, RevisionId='other')
stale('GetPolicy', client.remove_permission, FunctionName='hello', StatementId='may-0', RevisionId='other')

# URLs.
GONE = 'The resource you requested does not exist.'
url = dict(FunctionName='hello', AuthType='NONE')
for name, qualifier in (('none', {}), ('hello', {'Qualifier': 'none'})):
    miss('Function does not exist', client.create_function_url_config, FunctionName=name, AuthType='NONE', **qualifier)
    miss('Function does not exist', client.update_function_url_config, FunctionName=name, **qualifier)
    miss(GONE, client.get_function_url_config, FunctionName=name, **qualifier)
    miss(GONE, client.delete_function_url_config, FunctionName=name, **qualifier)
miss(GONE, client.update_function_url_config, **url)
miss(GONE, client.get_function_url_config, FunctionName='hello')
miss('Function does not exist', client.list_function_url_configs, FunctionName='none')

# Provisioned concurrency.
provisioned = dict(FunctionName='hello', Qualifier='1')
bad('The function resource provided must be an alias or a published version.',
    client.get_provisioned_concurrency_config, **{**provisioned, 'Qualifier': '$LATEST'})
miss(f'Cannot find alias arn: {ARN}:hello:none', client.get_provisioned_concurrency_config,
     **{**provisioned, 'Qualifier': 'none'})
miss(f'Function not found: {ARN}:hello:9', client.get_provisioned_concurrency_config,
     **{**provisioned, 'Qualifier': '9'})
refused(404, 'ProvisionedConcurrencyConfigNotFoundException', 'No Provisioned Concurrency Config found for this function',
        client.get_provisioned_concurrency_config, **provisioned)

# How events are tried.
for name, qualifier in (('none', {}), ('hello', {'Qualifier': 'none'})):
    miss("The function doesn't exist.", client.put_function_event_invoke_config,
         FunctionName=name, MaximumRetryAttempts=1, **qualifier)
    message = f"The function {ARN}:{name}:{qualifier.get('Qualifier', '$LATEST')} doesn't have an EventInvokeConfig"
    miss(message, client.get_function_event_invoke_config, FunctionName=name, **qualifier)
    miss(message, client.delete_function_event_invoke_config, FunctionName=name, **qualifier)
    miss(message, client.update_function_event_invoke_config, FunctionName=name, MaximumRetryAttempts=1, **qualifier)
miss("The function doesn't exist.", client.list_function_event_invoke_configs, FunctionName='none')
bad('You must specify at least one of error handling or destination setting.',
    client.put_function_event_invoke_config, FunctionName='hello')
client.put_function_event_invoke_config(FunctionName='hello', DestinationConfig={'OnSuccess': {}})

# Concurrency.
miss(f'Function not found: {ARN}:none:$LATEST', client.put_function_concurrency,
     FunctionName='none', ReservedConcurrentExecutions=1)
bad('This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. '
    'Please specify either a function name or an unqualified function ARN.', client.put_function_concurrency,
    FunctionName=f'{ARN}:hello:1', ReservedConcurrentExecutions=1)

# Tags.
many = {f'key-{n}': '' for n in range(51)}
bad('Number of tags exceeds resource tag limit.', client.tag_resource, Resource=f'{ARN}:hello', Tags=many)
bad('An error occurred and the request cannot be processed.', client.tag_resource, Resource=f'{ARN}:hello', Tags={})
good = dict(FunctionName='other', Runtime='python3.12', Role=ROLE, Handler='app.handler',
            Code={'ZipFile': archive({'app.py': HELLO})})
bad('Number of tags exceeds resource tag limit.', client.create_function, **good, Tags=many)

# Layers.
layer = client.publish_layer_version(LayerName='l', Content={'ZipFile': archive({'x': ''})}, CompatibleRuntimes=[],
                                     CompatibleArchitectures=[])
assert layer['CompatibleRuntimes'] == layer['CompatibleArchitectures'] == [], layer
client.publish_layer_version(LayerName='l', Content={'ZipFile': archive({'x': 'y'})})
one = dict(LayerName='l', VersionNumber=1)
share = dict(StatementId='s', Action='lambda:GetLayerVersion', Principal='*')
for number in (0, -1):
    bad('Layer Version Cannot be less than 1', client.get_layer_version, LayerName='l', VersionNumber=number)
    bad('Layer Version Cannot be less than 1', client.delete_layer_version, LayerName='l', VersionNumber=number)
miss('No policy is associated with the given resource.', client.get_layer_version_policy, **one)
for name, number in (('l', 9), ('none', 1)):
    gone, message = dict(LayerName=name, VersionNumber=number), f'Layer version {LAYER}:{name}:{number} does not exist.'
    miss(message, client.get_layer_version_policy, **gone)
    miss(message, client.add_layer_version_permission, **gone, **share)
    miss(message, client.remove_layer_version_permission, **gone, StatementId='s')
    miss(GONE, client.get_layer_version, **gone)
    client.delete_layer_version(**gone)
client.add_layer_version_permission(**one, **share)
stale('GetLayerPolicy', client.add_layer_version_permission, **one, **{**share, 'StatementId': 't'}, RevisionId='other')
stale('GetLayerPolicy', client.remove_layer_version_permission, **one, StatementId='s', RevisionId='other')
change = dict(FunctionName='hello')
bad('Layers are not in the same region as the function. Layers are expected to be in region us-east-1.',
    client.update_function_configuration, **change, Layers=['arn:aws:lambda:eu-west-1:000000000000:layer:l:1'])
bad('Two different versions of the same layer are not allowed to be referenced in the same function. '
    f'{LAYER}:l:1 and {LAYER}:l:2 are versions of the same layer.',
    client.update_function_configuration, **change, Layers=[f'{LAYER}:l:1', f'{LAYER}:l:2'])

# What the model allows and an account does not.
for member, value, most in (('MemorySize', 10241, 10240), ('Timeout', 901, 900)):
    message = f"'{member}' value failed to satisfy constraint: Member must have value less than or equal to {most}"
    bad(message, lax.update_function_configuration, **change, **{member: value})
    bad(message, lax.create_function, **good, **{member: value})
