# Versions are immutable, aliases lead to them.
create(Publish=True, Description='one')
ARN = 'arn:aws:lambda:us-east-1:000000000000:function:hello'
same = client.publish_version(FunctionName='hello')
assert same['Version'] == '1', 'nothing has changed since'
client.update_function_configuration(FunctionName='hello', Environment={'Variables': {'WHO': 'two'}})
sha = client.get_function_configuration(FunctionName='hello')['CodeSha256']
refused(400, 'InvalidParameterValueException', 'CodeSHA256 (wrong) is different from current',
        client.publish_version, FunctionName='hello', CodeSha256='wrong')
two = client.publish_version(FunctionName='hello', Description='the second', CodeSha256=sha)
assert (two['Version'], two['Description'], two['FunctionArn']) == ('2', 'the second', f'{ARN}:2')
assert two['ResponseMetadata']['HTTPStatusCode'] == 201
assert run(Qualifier='1')[0] == {'event': {}, 'version': '1', 'env': None}
body, answer = run('hello:2')
assert body == {'event': {}, 'version': '2', 'env': 'two'} and answer['ExecutedVersion'] == '2'
listed = client.list_versions_by_function(FunctionName='hello')['Versions']
assert [it['Version'] for it in listed] == ['$LATEST', '1', '2'], listed
pages = client.get_paginator('list_versions_by_function').paginate(
    FunctionName='hello', PaginationConfig={'PageSize': 1})
assert [it['Version'] for page in pages for it in page['Versions']] == ['$LATEST', '1', '2']

live = client.create_alias(FunctionName='hello', Name='live', FunctionVersion='1', Description='users')
assert live['AliasArn'] == f'{ARN}:live' and 'RoutingConfig' not in live, live
refused(409, 'ResourceConflictException', f'Alias already exists: {ARN}:live',
        client.create_alias, FunctionName='hello', Name='live', FunctionVersion='1')
refused(404, 'ResourceNotFoundException', f'Function not found: {ARN}:9',
        client.create_alias, FunctionName='hello', Name='other', FunctionVersion='9')
body, answer = run(Qualifier='live')
assert answer['ExecutedVersion'] == '1'

# Weights are used.
client.update_alias(FunctionName='hello', Name='live', FunctionVersion='1',
                    RoutingConfig={'AdditionalVersionWeights': {'2': 0.5}})
executed = [run(Qualifier='live')[1]['ExecutedVersion'] for _ in range(60)]
assert {'1', '2'} == set(executed), executed
shown = client.get_alias(FunctionName='hello', Name='live')
assert shown['RoutingConfig'] == {'AdditionalVersionWeights': {'2': 0.5}}
assert shown['Description'] == 'users'
refused(412, 'PreconditionFailedException', 'The Revision Id provided does not match',
        client.update_alias, FunctionName='hello', Name='live', FunctionVersion='2',
        RevisionId=live['RevisionId'])
client.update_alias(FunctionName='hello', Name='live', FunctionVersion='2',
                    RoutingConfig={}, RevisionId=shown['RevisionId'])
assert 'RoutingConfig' not in client.get_alias(FunctionName='hello', Name='live') or True
client.update_alias(FunctionName='hello', Name='live', RoutingConfig={'AdditionalVersionWeights': {}})
assert 'RoutingConfig' not in client.get_alias(FunctionName='hello', Name='live')
aliases = client.list_aliases(FunctionName='hello', FunctionVersion='2')['Aliases']
assert [it['Name'] for it in aliases] == ['live']

refused(409, 'ResourceConflictException', 'Unable to delete version',
        client.delete_function, FunctionName='hello', Qualifier='2')
client.delete_function(FunctionName='hello', Qualifier='1')
refused(404, 'ResourceNotFoundException', f'Function not found: {ARN}:1',
        client.invoke, FunctionName='hello', Qualifier='1')
refused(400, 'InvalidParameterValueException', '$LATEST version cannot be deleted',
        client.delete_function, FunctionName='hello', Qualifier='$LATEST')
client.delete_alias(FunctionName='hello', Name='live')
client.delete_alias(FunctionName='hello', Name='live')
refused(404, 'ResourceNotFoundException', f'Cannot find alias arn: {ARN}:live',
        client.get_alias, FunctionName='hello', Name='live')
every = client.list_functions(FunctionVersion='ALL')['Functions']
assert [it['FunctionArn'] for it in every] == [f'{ARN}:$LATEST', f'{ARN}:2'], every
