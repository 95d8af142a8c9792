import base64, hashlib, io, json, os, random, signal, subprocess, sys, threading, time, zipfile
import boto3, botocore
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

PROGRAM, FOLDER = os.environ['DAYFLY_PROGRAM'], os.environ['DAYFLY_FOLDER']
# What fails can be run again with the same delays.
SEED = int(os.environ.get('DAYFLY_SEED', time.time_ns()))
chance = random.Random(SEED)
ROLE = 'arn:aws:iam::000000000000:role/runs'
# Tags of the function are what is left of an event that was run, whatever happened to the log.
CODE = '''
import json, os, urllib.request
N = {n}
def handler(event, context):
    if 'event' in event:
        arn = ':'.join(context.invoked_function_arn.split(':')[:7])
        scope = os.environ['AWS_ACCESS_KEY_ID'] + '/20200101/us-east-1/lambda/aws4_request'
        request = urllib.request.Request(
            os.environ['AWS_ENDPOINT_URL'] + '/2017-03-31/tags/' + arn, method='POST',
            data=json.dumps(dict(Tags={{'ran-%d' % event['event']: ''}})).encode(),
            headers={{'Authorization': 'AWS4-HMAC-SHA256 Credential=%s, SignedHeaders=host, Signature=0' % scope}})
        urllib.request.urlopen(request, timeout=30).read()
    return N
'''


def archive(n):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as packed:
        packed.writestr(zipfile.ZipInfo('app.py'), CODE.format(n=n))
    return out.getvalue()


def sha(n):
    return base64.b64encode(hashlib.sha256(archive(n)).digest()).decode()


class Daemon:
    def __init__(self):
        self.process = subprocess.Popen(
            [PROGRAM, 'dev', FOLDER, '--port', '0', '--json'], stdout=subprocess.PIPE, text=True)
        while True:
            event = json.loads(self.process.stdout.readline())
            if event['event'] == 'listening':
                origin = event['origin']
            if event['event'] == 'ready':
                break
        # Nobody reads on, and nothing waits for that.
        threading.Thread(target=lambda: [None for _ in self.process.stdout], daemon=True).start()
        self.client = boto3.client('lambda', endpoint_url=origin, config=Config(
            retries=dict(total_max_attempts=1), read_timeout=60))

    def kill_during(self, calls):
        """Makes the calls one after the other and kills the daemon somewhere in them; how many
        were answered."""
        answered = []

        def make():
            for call in calls:
                try:
                    call(self.client)
                except (BotoCoreError, ClientError) as error:
                    # A daemon that is killed says nothing: no answer may be an error of its own.
                    assert not isinstance(error, ClientError), error
                    return
                answered.append(call)

        making = threading.Thread(target=make)
        making.start()
        time.sleep(chance.uniform(0, 0.12))
        self.end()
        making.join()
        return len(answered)

    def end(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def state(client, name):
    """What a function is, and whether it is that whole: what runs is what is told."""
    try:
        found = client.get_function(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:
        listed = client.list_functions()['Functions']
        assert name not in [one['FunctionName'] for one in listed], 'listed, but not there'
        return None
    told = found['Configuration']
    assert (told['State'], told['LastUpdateStatus']) == ('Active', 'Successful'), told
    ran = client.invoke(FunctionName=name, Payload='{}')
    n = json.loads(ran['Payload'].read())
    assert 'FunctionError' not in ran, n
    assert told['CodeSha256'] == sha(n), (told, n)
    versions = client.list_versions_by_function(FunctionName=name)['Versions'][1:]
    assert [v['Version'] for v in versions] == [str(i + 1) for i in range(len(versions))]
    for version in versions:
        ran = client.invoke(FunctionName=name, Payload='{}', Qualifier=version['Version'])
        assert version['CodeSha256'] == sha(json.loads(ran['Payload'].read())), version
    return n, len(versions)


def make(n):
    return lambda client: client.create_function(
        FunctionName='f%d' % n, Runtime='python3.12', Role=ROLE, Handler='app.handler',
        Code=dict(ZipFile=archive(n)))


daemon, count = Daemon(), 0
try:
    for _ in range(4):
        calls = range(count, count + 40)
        answered = daemon.kill_during([make(n) for n in calls])
        daemon = Daemon()
        found = [state(daemon.client, 'f%d' % n) is not None for n in calls]
        made = sum(found)
        assert found == [True] * made + [False] * (len(found) - made), found
        assert answered <= made <= answered + 1, (answered, made)
        count += made
    assert count, 'none was made in time'
    for name in ['f%d' % n for n in range(1, count)]:
        daemon.client.delete_function(FunctionName=name)

    steps = 0
    for _ in range(4):
        def change(step):
            if step % 2:
                return lambda client: client.publish_version(FunctionName='f0')
            return lambda client: client.update_function_code(
                FunctionName='f0', ZipFile=archive(1000 + step // 2))
        answered = daemon.kill_during([change(steps + step) for step in range(60)])
        daemon = Daemon()
        now, versions = state(daemon.client, 'f0')
        after = [((999 + (done + 1) // 2) if done else 0, done // 2)
                 for done in (steps + answered, steps + answered + 1)]
        assert (now, versions) in after, (now, versions, after)
        steps += answered + after.index((now, versions))

    for round in range(4):
        def renew(step):
            return lambda client: client.update_function_code(
                FunctionName='g', ZipFile=archive(step), Publish=True)
        if round == 0:
            daemon.client.create_function(
                FunctionName='g', Runtime='python3.12', Role=ROLE, Handler='app.handler',
                Code=dict(ZipFile=archive(0)))
            at = 0
        answered = daemon.kill_during([renew(step) for step in range(at + 1, at + 41)])
        daemon = Daemon()
        told = daemon.client.get_function_configuration(FunctionName='g')
        ran = json.loads(daemon.client.invoke(FunctionName='g', Payload='{}')['Payload'].read())
        assert told['CodeSha256'] == sha(ran), (told, ran)
        assert at + answered <= ran <= at + answered + 1, (at, answered, ran)
        listed = daemon.client.list_versions_by_function(FunctionName='g')['Versions'][1:]
        # Code and version come together or not at all.
        assert [v['CodeSha256'] for v in listed] == [sha(n + 1) for n in range(ran)], (ran, listed)
        at = ran

    sent, accepted = 0, 0
    for round in range(3):
        def submit(event):
            return lambda client: client.invoke(
                FunctionName='g', InvocationType='Event', Payload=json.dumps(dict(event=event)))
        answered = daemon.kill_during([submit(event) for event in range(sent, sent + 15)])
        daemon = Daemon()
        arn = daemon.client.get_function_configuration(FunctionName='g')['FunctionArn']
        wanted = {'ran-%d' % event for event in range(sent, sent + answered)}
        until = time.monotonic() + 60
        while not wanted <= set(daemon.client.list_tags(Resource=arn)['Tags']):
            assert time.monotonic() < until, (wanted, daemon.client.list_tags(Resource=arn))
            time.sleep(0.05)
        sent, accepted = sent + 15, accepted + answered
    assert accepted and versions and at, (accepted, versions, at)
except BaseException:
    print('DAYFLY_SEED=%d' % SEED, file=sys.stderr)
    raise
finally:
    daemon.end()
