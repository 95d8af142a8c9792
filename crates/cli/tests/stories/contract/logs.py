# CloudWatch Logs: what functions log and what clients put.
logs = boto3.client('logs')
lax = boto3.client('logs', config=botocore.config.Config(parameter_validation=False))
GROUP = 'arn:aws:logs:us-east-1:000000000000:log-group:'
GONE, BAD = 'ResourceNotFoundException', 'InvalidParameterException'
NO_GROUP = 'The specified log group does not exist.'
NO_STREAM = 'The specified log stream does not exist.'
SAYS = """
import os
def handler(event, context):
    for line in event.get('say', []):
        print(line)
    return [context.log_group_name, context.log_stream_name]
"""


def messages(**more):
    """The texts of all events, over all pages."""
    pages = logs.get_paginator('filter_log_events').paginate(**more)
    return [event['message'] for page in pages for event in page['events']]


# A function's log.
create(files={'app.py': SAYS})
refused(400, GONE, NO_GROUP, logs.filter_log_events, logGroupName='/aws/lambda/hello')
(group, stream), answer = run(event={'say': ['first', '{"level": "warn", "n": 7}', 'ERROR no such thing']},
                              LogType='Tail')
assert group == '/aws/lambda/hello' and stream.count('/') == 3 and '[$LATEST]' in stream, (group, stream)
found = logs.filter_log_events(logGroupName=group)
assert found['searchedLogStreams'] == [] and 'nextToken' not in found, found
events = found['events']
assert {event['logStreamName'] for event in events} == {stream}, events
said = [event['message'] for event in events]
assert said[0].startswith('INIT_START ') and said[1].startswith('START RequestId: '), said
assert said[2:5] == ['first', '{"level": "warn", "n": 7}', 'ERROR no such thing'], said
assert said[5].startswith('END RequestId: ') and said[6].startswith('REPORT RequestId: '), said
assert len({event['eventId'] for event in events}) == len(events)
assert all(len(event['eventId']) == 56 and event['eventId'].isdigit() for event in events)
now = time.time() * 1000
assert all(now - 60000 < event['timestamp'] <= event['ingestionTime'] < now + 60000 for event in events)
assert [it['timestamp'] for it in events] == sorted(it['timestamp'] for it in events)
assert messages(logGroupName=group, PaginationConfig={'PageSize': 2}) == said
assert messages(logGroupIdentifier=GROUP + group) == said
assert messages(logGroupName=group, logStreamNamePrefix=stream[:10]) == said
assert messages(logGroupName=group, logStreamNames=[stream]) == said
assert messages(logGroupName=group, startTime=int(now) + 60000) == []
first = events[0]['timestamp']
assert said[0] in messages(logGroupName=group, startTime=first, endTime=first)
newest = logs.filter_log_events(logGroupName=group, startFromHead=False, limit=1, startTime=first)
assert newest['events'][0]['message'] == said[-1], newest
older = logs.filter_log_events(logGroupName=group, nextToken=newest['nextToken'], limit=2)
assert [it['message'] for it in older['events']] == [said[-2], said[-3]], older

# Filter patterns.
for pattern, expected in {
        '': said, 'ERROR': [said[4]], '?first ?ERROR': [said[2], said[4]], '"no such" thing': [said[4]],
        '-RequestId -INIT_START': said[2:5], '{ $.n > 5 && $.level = "w*" }': [said[3]],
        '{ $.n > 7 }': [], '[word = ERROR, ...]': [said[4]], r'%^ERROR\s%': [said[4]]}.items():
    assert messages(logGroupName=group, filterPattern=pattern) == expected, pattern
for pattern, message in {'a=b': "Invalid character(s) in term 'a=b'", '{ $.a': "If a filter pattern starts with '{'",
                         '{ $.a = }': 'Invalid filter pattern', '[a,': "If a filter pattern starts with '['"}.items():
    refused(400, BAD, message, logs.filter_log_events, logGroupName=group, filterPattern=pattern)

# One stream, in pages both ways.
get = dict(logGroupName=group, logStreamName=stream)
page = logs.get_log_events(**get)
assert [event['message'] for event in page['events']] == said
assert set(page['events'][0]) == {'timestamp', 'message', 'ingestionTime'}, page['events'][0]
same = logs.get_log_events(**get, nextToken=page['nextForwardToken'])
assert same['events'] == [] and same['nextForwardToken'] == page['nextForwardToken'], same
back = logs.get_log_events(**get, nextToken=same['nextBackwardToken'], limit=2)
assert [event['message'] for event in back['events']] == said[-2:], back
same = logs.get_log_events(**get, nextToken=page['nextBackwardToken'])
assert same['events'] == [] and same['nextBackwardToken'] == page['nextBackwardToken'], same
ahead = logs.get_log_events(**get, nextToken=same['nextForwardToken'])
assert [event['message'] for event in ahead['events']] == said
head = logs.get_log_events(**get, startFromHead=True, limit=3)
assert [event['message'] for event in head['events']] == said[:3]
run(event={'say': ['once more']})
news = logs.get_log_events(**get, nextToken=page['nextForwardToken'])
assert [event['message'] for event in news['events']][1] == 'once more', news
refused(400, BAD, 'The specified nextToken is invalid.', logs.get_log_events, **get, nextToken='x')
refused(400, GONE, NO_STREAM, logs.get_log_events, logGroupName=group, logStreamName='none')
refused(400, GONE, NO_STREAM, logs.filter_log_events, logGroupName=group, logStreamNames=['none'])
refused(400, BAD, '', logs.filter_log_events, logGroupName=group, logStreamNames=[stream], logStreamNamePrefix='x')
refused(400, BAD, 'Either logGroupName', logs.filter_log_events)
refused(400, BAD, '', logs.get_log_events, **get, logGroupIdentifier=group)
streams = logs.describe_log_streams(logGroupName=group)['logStreams']
assert [it['logStreamName'] for it in streams] == [stream], streams
assert streams[0]['arn'] == f'{GROUP}{group}:log-stream:{stream}' and streams[0]['storedBytes'] == 0
assert streams[0]['firstEventTimestamp'] == first and streams[0]['lastEventTimestamp'] >= first

# Groups.
logs.create_log_group(logGroupName='mine', tags={'team': 'blue'})
refused(400, 'ResourceAlreadyExistsException', 'The specified log group already exists',
        logs.create_log_group, logGroupName='mine')
refused(400, 'ResourceAlreadyExistsException', '', logs.create_log_group, logGroupName=group)
described = logs.describe_log_groups(logGroupNamePrefix='mi')['logGroups']
assert described[0] == {
    'logGroupName': 'mine', 'creationTime': described[0]['creationTime'], 'metricFilterCount': 0,
    'arn': f'{GROUP}mine:*', 'logGroupArn': f'{GROUP}mine', 'storedBytes': 0, 'logGroupClass': 'STANDARD',
    'deletionProtectionEnabled': False}, described
names = lambda **more: [it['logGroupName'] for it in logs.describe_log_groups(**more)['logGroups']]
assert names() == [group, 'mine'] and names(logGroupNamePattern='HELLO') == [group]
assert names(logGroupIdentifiers=[f'{GROUP}mine', 'none']) == ['mine']
page = logs.describe_log_groups(limit=1)
assert names(nextToken=page['nextToken']) == ['mine']
assert names(nextToken='a-group-that-went') == ['mine']
NO_TOKEN = 'The specified nextToken is invalid.'
for token in ('a b', '*', '!', 'x' * 513):
    refused(400, BAD, NO_TOKEN, logs.describe_log_groups, nextToken=token)
for name in ('aws/mine', 'AWS/mine', 'aws/lambda/hello'):
    refused(400, BAD, 'Log groups starting with AWS/ are reserved for AWS.', logs.create_log_group, logGroupName=name)
logs.create_log_group(logGroupName='awsome')
logs.delete_log_group(logGroupName='awsome')
refused(400, BAD, "The specified KMS Key Id could not be found. 'sealed'", logs.create_log_group,
        logGroupName='sealed', kmsKeyId='no-key')
refused(400, 'AccessDeniedException', 'The specified KMS key does not exist or is not allowed to be used with Arn '
        f"'{GROUP}sealed'", logs.create_log_group, logGroupName='sealed',
        kmsKeyId='arn:aws:kms:us-east-1:000000000000:key/5a0f2a6c-0000-4000-8000-000000000000')
assert names(logGroupNamePrefix='sealed') == []
refused(400, BAD, 'LogGroup name prefix', logs.describe_log_groups,
        logGroupNamePrefix='a', logGroupNamePattern='b')
logs.put_retention_policy(logGroupName='mine', retentionInDays=7)
assert logs.describe_log_groups(logGroupNamePrefix='mine')['logGroups'][0]['retentionInDays'] == 7
refused(400, BAD, "1 validation error detected: Value '2' at 'retentionInDays'",
        logs.put_retention_policy, logGroupName='mine', retentionInDays=2)
logs.delete_retention_policy(logGroupName='mine')
assert 'retentionInDays' not in logs.describe_log_groups(logGroupNamePrefix='mine')['logGroups'][0]
logs.tag_log_group(logGroupName='mine', tags={'a': '1'})
logs.tag_resource(resourceArn=f'{GROUP}mine', tags={'b': '2'})
logs.untag_log_group(logGroupName='mine', tags=['team'])
assert logs.list_tags_log_group(logGroupName='mine')['tags'] == {'a': '1', 'b': '2'}
logs.untag_resource(resourceArn=f'{GROUP}mine', tagKeys=['a'])
assert logs.list_tags_for_resource(resourceArn=f'{GROUP}mine')['tags'] == {'b': '2'}
refused(400, 'TooManyTagsException', '', logs.tag_resource, resourceArn=f'{GROUP}mine',
        tags={str(n): '' for n in range(50)})
assert logs.describe_subscription_filters(logGroupName='mine')['subscriptionFilters'] == []
assert logs.describe_resource_policies()['resourcePolicies'] == []
assert logs.describe_metric_filters(logGroupName='mine')['metricFilters'] == []
for call in (logs.delete_log_group, logs.describe_log_streams, logs.list_tags_log_group,
             logs.delete_retention_policy, logs.describe_subscription_filters):
    refused(400, GONE, NO_GROUP, call, logGroupName='none')
refused(400, BAD, '1 validation error detected', lax.create_log_group, logGroupName='a b')
far = boto3.client('logs', region_name='eu-west-1')
assert far.describe_log_groups()['logGroups'] == []
refused(400, GONE, NO_GROUP, far.filter_log_events, logGroupIdentifier=f'{GROUP}mine')
stranger = boto3.client('logs', aws_access_key_id='123456789012', aws_secret_access_key='any')
assert stranger.describe_log_groups()['logGroups'] == []
refused(400, 'AccessDeniedException', 'User: arn:aws:iam::123456789012:root is not authorized to perform: '
        f'logs:FilterLogEvents on resource: {GROUP}mine', stranger.filter_log_events, logGroupIdentifier=f'{GROUP}mine')
refused(501, 'UnknownOperationException', 'the operation StartQuery', logs.start_query,
        logGroupName='mine', startTime=0, endTime=1, queryString='x')

# Events that clients put.
put = dict(logGroupName='mine', logStreamName='s')
event = lambda message, at=0: {'timestamp': int(now) + at, 'message': message}
refused(400, GONE, NO_STREAM, logs.put_log_events, **put, logEvents=[event('x')])
refused(400, GONE, NO_GROUP, logs.put_log_events, logGroupName='none', logStreamName='s', logEvents=[event('x')])
refused(400, GONE, NO_GROUP, logs.create_log_stream, logGroupName='none', logStreamName='s')
logs.create_log_stream(**put)
refused(400, 'ResourceAlreadyExistsException', 'The specified log stream already exists',
        logs.create_log_stream, **put)
empty = logs.get_log_events(**put)
assert empty['events'] == [] and empty['nextForwardToken'] and empty['nextBackwardToken'], empty
answer = logs.put_log_events(**put, logEvents=[event('one'), event('two', 1)], sequenceToken='whatever')
assert answer['nextSequenceToken'] and 'rejectedLogEventsInfo' not in answer, answer
assert messages(logGroupName='mine') == ['one', 'two']
came = logs.get_log_events(**put, nextToken=empty['nextForwardToken'])['events']
assert [(it['message'], it['timestamp']) for it in came] == [('one', int(now)), ('two', int(now) + 1)], came
DAY = 24 * 3600 * 1000
answer = logs.put_log_events(**put, logEvents=[event('old', -15 * DAY), event('three', 2), event('new', DAY)])
assert answer['rejectedLogEventsInfo'] == {'tooNewLogEventStartIndex': 2, 'tooOldLogEventEndIndex': 1}, answer
assert messages(logGroupName='mine') == ['one', 'two', 'three']
refused(400, BAD, 'Log events in a single PutLogEvents request must be in chronological order.',
        logs.put_log_events, **put, logEvents=[event('b', 1), event('a')])
refused(400, BAD, 'The batch of log events in a single PutLogEvents request cannot span more than 24 hours.',
        logs.put_log_events, **put, logEvents=[event('a', -2 * DAY), event('b')])
refused(400, BAD, 'Upload too large: 1048577 bytes exceeds limit of 1048576',
        logs.put_log_events, **put, logEvents=[event('x' * (1048577 - 26))])
refused(400, BAD, '1 validation error detected', lax.put_log_events, **put, logEvents=[])
refused(400, BAD, '1 validation error detected', lax.put_log_events, **put, logEvents=[event('x')] * 10001)
logs.put_log_events(**put, logEvents=[event('x' * (1048576 - 26), 3)])
logs.put_log_events(**put, logEvents=[event('y', 4)] * 10000)
assert len(messages(logGroupName='mine', filterPattern='y')) == 10000
assert len(messages(logGroupName='mine')) == 10004

# Streams are sorted, paged and removed.
for at, name in enumerate(['zebra', 'ant', 'bee']):
    logs.create_log_stream(logGroupName='mine', logStreamName=name)
    logs.put_log_events(logGroupName='mine', logStreamName=name, logEvents=[event(name, 10 - at)])
order = lambda **more: [it['logStreamName'] for page in logs.get_paginator('describe_log_streams').paginate(
    logGroupName='mine', PaginationConfig={'PageSize': 2}, **more) for it in page['logStreams']]
assert order() == ['ant', 'bee', 's', 'zebra'] and order(descending=True) == ['zebra', 's', 'bee', 'ant']
assert order(orderBy='LastEventTime', descending=True) == ['zebra', 'ant', 'bee', 's']
assert order(logStreamNamePrefix='b') == ['bee']
token = logs.describe_log_streams(logGroupName='mine', limit=1)['nextToken']
for wrong in ('ant', 'x', token + '!', token[1:]):
    refused(400, BAD, NO_TOKEN, logs.describe_log_streams, logGroupName='mine', nextToken=wrong)
refused(400, BAD, NO_TOKEN, logs.describe_log_streams, logGroupName='mine', nextToken=token, orderBy='LastEventTime')
refused(400, BAD, 'Cannot order by LastEventTime with a logStreamNamePrefix.', logs.describe_log_streams,
        logGroupName='mine', orderBy='LastEventTime', logStreamNamePrefix='b')
logs.delete_log_stream(**put)
refused(400, GONE, NO_STREAM, logs.delete_log_stream, **put)
assert messages(logGroupName='mine') == ['bee', 'ant', 'zebra']
logs.create_log_stream(**put)
assert logs.get_log_events(**put)['events'] == []
logs.delete_log_group(logGroupName='mine')
refused(400, GONE, NO_GROUP, logs.filter_log_events, logGroupName='mine')

# A group of its author's own for a function.
create('chatty', files={'app.py': SAYS}, LoggingConfig={'LogFormat': 'Text', 'LogGroup': 'shared'})
(group, stream), _ = run('chatty', event={'say': ['in the shared group']})
assert group == 'shared' and 'in the shared group' in messages(logGroupName='shared')
refused(400, GONE, NO_GROUP, logs.filter_log_events, logGroupName='/aws/lambda/chatty')

# A group that goes takes its function's lines along, and is there anew with the function's next line,
# whoever is asked for it in between.
for said in ('again', 'and again'):
    logs.delete_log_group(logGroupName='shared')
    refused(400, GONE, NO_GROUP, logs.filter_log_events, logGroupName='shared')
    refused(400, GONE, NO_GROUP, logs.describe_log_streams, logGroupName='shared')
    (_, same), _ = run('chatty', event={'say': [said]})
    assert same == stream, 'the instance is the one that was there'
    found = messages(logGroupName='shared')
    assert found[0].startswith('START RequestId: ') and found[1] == said, found
    assert found[2].startswith('END RequestId: ') and len(found) == 4, found
    assert [it['logStreamName'] for it in logs.describe_log_streams(logGroupName='shared')['logStreams']] == [stream]
logs.delete_log_group(logGroupName='shared')
client.update_function_code(FunctionName='chatty', ZipFile=archive({'app.py': SAYS + '# anew'}))
run('chatty', event={'say': ['by another']})
found = messages(logGroupName='shared')
assert found[0].startswith('INIT_START ') and 'by another' in found and 'again' not in found, found
