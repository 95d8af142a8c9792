# A function from its beginning to its end.
code = archive({'app.py': HELLO})
made = client.create_function(
    FunctionName='hello', Runtime='python3.12', Role=ROLE, Handler='app.handler',
    Code={'ZipFile': code}, Description='greets', Timeout=5, MemorySize=256,
    Environment={'Variables': {'WHO': 'world'}}, Tags={'team': 'blue'})
assert made['ResponseMetadata']['HTTPStatusCode'] == 201
assert (made['State'], made['StateReasonCode']) == ('Pending', 'Creating'), made
assert made['StateReason'] == 'The function is being created.'
assert 'LastUpdateStatus' not in made
assert made['CodeSha256'] == base64.b64encode(hashlib.sha256(code).digest()).decode()
assert made['CodeSize'] == len(code)
client.get_waiter('function_active_v2').wait(FunctionName='hello')
shown = client.get_function(FunctionName='hello')
configuration = shown['Configuration']
assert configuration['State'] == 'Active' and configuration['LastUpdateStatus'] == 'Successful'
assert configuration['RevisionId'] != made['RevisionId']
assert shown['Tags'] == {'team': 'blue'}
# Absent members are absent.
assert set(configuration) == {
    'Architectures', 'CodeSha256', 'CodeSize', 'Description', 'Environment', 'EphemeralStorage',
    'FunctionArn', 'FunctionName', 'Handler', 'LastModified', 'LastUpdateStatus', 'LoggingConfig',
    'MemorySize', 'PackageType', 'RevisionId', 'Role', 'Runtime', 'RuntimeVersionConfig',
    'SnapStart', 'State', 'Timeout', 'TracingConfig', 'Version'}, sorted(configuration)
assert configuration['Role'] == ROLE
assert urllib.request.urlopen(shown['Code']['Location']).read() == code
body, _ = run(event={'n': 1})
assert body == {'event': {'n': 1}, 'version': '$LATEST', 'env': 'world'}, body

# Code and configuration change by themselves.
updated = client.update_function_configuration(
    FunctionName='hello', MemorySize=128, Environment={'Variables': {'WHO': 'moon'}})
assert updated['LastUpdateStatus'] == 'InProgress' and updated['State'] == 'Active'
client.get_waiter('function_updated_v2').wait(FunctionName='hello')
assert run()[0]['env'] == 'moon'
again = archive({'app.py': HELLO.replace("'version'", "'v'")})
dry = client.update_function_code(FunctionName='hello', ZipFile=again, DryRun=True)
assert 'version' in run()[0]
client.update_function_code(FunctionName='hello', ZipFile=again)
assert 'v' in run()[0]
after = client.get_function_configuration(FunctionName='hello')
assert (after['MemorySize'], after['Description'], after['Timeout']) == (128, 'greets', 5)
client.update_function_configuration(FunctionName='hello', Environment={'Variables': {}})
assert client.get_function_configuration(FunctionName='hello')['Environment'] == {'Variables': {}}
client.update_function_configuration(FunctionName='hello', Environment={'Variables': {'WHO': 'sun'}})
assert run()[0]['env'] == 'sun'
client.update_function_configuration(FunctionName='hello', Environment={})
assert run()[0]['env'] is None

# Revisions.
now = client.get_function_configuration(FunctionName='hello')['RevisionId']
client.update_function_configuration(FunctionName='hello', Timeout=6, RevisionId=now)
refused(412, 'PreconditionFailedException', 'The Revision Id provided does not match the latest',
        client.update_function_configuration, FunctionName='hello', Timeout=7, RevisionId=now)

# What must be told again as it was given.
client.update_function_configuration(
    FunctionName='hello', KMSKeyArn='arn:aws:kms:us-east-1:000000000000:key/x',
    TracingConfig={'Mode': 'Active'}, LoggingConfig={'LogFormat': 'JSON', 'LogGroup': '/mine'},
    DeadLetterConfig={'TargetArn': 'arn:aws:sqs:us-east-1:000000000000:q'},
    VpcConfig={'SubnetIds': ['subnet-1'], 'SecurityGroupIds': ['sg-1']})
kept = client.get_function_configuration(FunctionName='hello')
assert kept['KMSKeyArn'].endswith('key/x') and kept['TracingConfig'] == {'Mode': 'Active'}
assert kept['LoggingConfig'] == {'LogFormat': 'JSON', 'ApplicationLogLevel': 'INFO',
                                 'SystemLogLevel': 'INFO', 'LogGroup': '/mine'}, kept
assert kept['DeadLetterConfig'] == {'TargetArn': 'arn:aws:sqs:us-east-1:000000000000:q'}
assert kept['VpcConfig'] == {'SubnetIds': ['subnet-1'], 'SecurityGroupIds': ['sg-1']}, kept
client.update_function_configuration(
    FunctionName='hello', KMSKeyArn='', DeadLetterConfig={'TargetArn': ''},
    VpcConfig={'SubnetIds': [], 'SecurityGroupIds': []})
gone = client.get_function_configuration(FunctionName='hello')
assert not {'KMSKeyArn', 'DeadLetterConfig', 'VpcConfig'} & set(gone), gone

# What deploy tools read.
assert client.get_function_code_signing_config(FunctionName='hello')['FunctionName'] == 'hello'
assert client.get_function_recursion_config(FunctionName='hello')['RecursiveLoop'] == 'Terminate'
client.put_function_recursion_config(FunctionName='hello', RecursiveLoop='Allow')
assert client.get_function_recursion_config(FunctionName='hello')['RecursiveLoop'] == 'Allow'
managed = client.get_runtime_management_config(FunctionName='hello')
assert managed['UpdateRuntimeOn'] == 'Auto', managed
assert client.list_provisioned_concurrency_configs(
    FunctionName='hello')['ProvisionedConcurrencyConfigs'] == []
assert client.list_code_signing_configs()['CodeSigningConfigs'] == []
assert client.list_event_source_mappings(FunctionName='hello')['EventSourceMappings'] == []

# Concurrency.
assert 'ReservedConcurrentExecutions' not in client.get_function_concurrency(FunctionName='hello')
client.put_function_concurrency(FunctionName='hello', ReservedConcurrentExecutions=0)
error = refused(429, 'TooManyRequestsException', 'Rate Exceeded.', client.invoke, FunctionName='hello')
assert error['Reason'] == 'ReservedFunctionConcurrentInvocationLimitExceeded', error
assert client.get_function(FunctionName='hello')['Concurrency'] == {'ReservedConcurrentExecutions': 0}
client.delete_function_concurrency(FunctionName='hello')
run()
refused(400, 'InvalidParameterValueException', "Specified ReservedConcurrentExecutions for function",
        client.put_function_concurrency, FunctionName='hello', ReservedConcurrentExecutions=1000)

# The older way to hand an event over.
assert client.invoke_async(FunctionName='hello', InvokeArgs=b'{"n": 1}')['Status'] == 202
refused(404, 'ResourceNotFoundException', 'Function not found: arn:aws:lambda:us-east-1:000000000000:function:none',
        client.invoke_async, FunctionName='none', InvokeArgs=b'{}')
refused(400, 'InvalidRequestContentException', 'Could not parse request body into json',
        client.invoke_async, FunctionName='hello', InvokeArgs=b'{')

# Tags.
arn = configuration['FunctionArn']
client.tag_resource(Resource=arn, Tags={'a': 'b', 'c': 'd'})
client.untag_resource(Resource=arn, TagKeys=['team', 'c'])
assert client.list_tags(Resource=arn)['Tags'] == {'a': 'b'}

# How events are tried.
refused(404, 'ResourceNotFoundException', f"The function {arn}:$LATEST doesn't have an EventInvokeConfig",
        client.get_function_event_invoke_config, FunctionName='hello')
client.put_function_event_invoke_config(FunctionName='hello', MaximumRetryAttempts=1)
tried = client.get_function_event_invoke_config(FunctionName='hello')
assert tried['MaximumRetryAttempts'] == 1 and tried['FunctionArn'] == f'{arn}:$LATEST', tried
assert tried['DestinationConfig'] == {'OnSuccess': {}, 'OnFailure': {}}, tried
client.update_function_event_invoke_config(FunctionName='hello', MaximumEventAgeInSeconds=60)
tried = client.list_function_event_invoke_configs(FunctionName='hello')['FunctionEventInvokeConfigs']
assert [(it['MaximumRetryAttempts'], it['MaximumEventAgeInSeconds']) for it in tried] == [(1, 60)]
client.delete_function_event_invoke_config(FunctionName='hello')

answer = client.delete_function(FunctionName='hello')
assert answer['ResponseMetadata']['HTTPStatusCode'] in (200, 204)
refused(404, 'ResourceNotFoundException', f'Function not found: {arn}',
        client.get_function, FunctionName='hello')
refused(404, 'ResourceNotFoundException', f'Function not found: {arn}',
        client.delete_function, FunctionName='hello')
