import base64, hashlib, io, json, stat, time, urllib.request, zipfile
import boto3, botocore
from botocore.exceptions import ClientError

client = boto3.client('lambda')
ROLE = 'arn:aws:iam::000000000000:role/runs'
HELLO = """
import os
def handler(event, context):
    return {'event': event, 'version': context.function_version, 'env': os.environ.get('WHO')}
"""

# The project's own function is not what this is about.
client.delete_function(FunctionName='seed')


def archive(files, links=()):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as packed:
        for name, text in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o755 if name == 'bootstrap' else 0o644) << 16
            packed.writestr(info, text)
        for name, target in links:
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            packed.writestr(info, target)
    return out.getvalue()


def create(name='hello', files=None, **more):
    settings = dict(Runtime='python3.12', Role=ROLE, Handler='app.handler',
                    Code={'ZipFile': archive(files or {'app.py': HELLO})})
    settings.update(more)
    answer = client.create_function(FunctionName=name, **settings)
    client.get_waiter('function_active_v2').wait(FunctionName=name)
    return answer


def run(name='hello', event=None, **more):
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event or {}), **more)
    body = json.loads(answer['Payload'].read())
    assert 'FunctionError' not in answer, body
    return body, answer


def refused(status, code, message, call, **arguments):
    """The call fails in exactly this way; what the message may begin with is enough."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        found = error.response
        assert found['ResponseMetadata']['HTTPStatusCode'] == status, found
        assert found['Error']['Code'] == code, found
        assert found['Error']['Message'].startswith(message), found
        return found
    raise SystemExit(f'no error: {answer}')
