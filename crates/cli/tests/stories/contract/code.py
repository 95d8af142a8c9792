# The code of functions, had again: of folders that were deployed, and of archives that were sent.
import urllib.error


def download(name, **more):
    location = client.get_function(FunctionName=name, **more)['Code']['Location']
    with urllib.request.urlopen(location) as answer:
        assert answer.headers['Content-Type'] == 'application/zip', answer.headers
        body = answer.read()
        assert int(answer.headers['Content-Length']) == len(body)
    return location, body


def status(location, method='GET'):
    try:
        return urllib.request.urlopen(urllib.request.Request(location, method=method)).status
    except urllib.error.HTTPError as error:
        return error.code


# A function that nobody gave a role has one all the same.
tools = client.get_function_configuration(FunctionName='tools')
assert tools['Role'] == 'arn:aws:iam::000000000000:role/tools-role', tools

location, body = download('tools')
assert download('tools')[1] == body, 'equal code makes equal archives'
packed = zipfile.ZipFile(io.BytesIO(body))
assert packed.testzip() is None
entries = {info.filename: info for info in packed.infolist()}
assert list(entries) == sorted(entries), list(entries)
mode = lambda name: entries[name].external_attr >> 16
assert stat.S_ISLNK(mode('bin/start')) and packed.read('bin/start') == b'../run.sh', mode('bin/start')
assert mode('run.sh') & 0o777 == 0o755 and mode('app.py') & 0o777 == 0o644
assert {info.date_time for info in entries.values()} == {(1980, 1, 1, 0, 0, 0)}
assert json.loads(packed.read('größe.json')) == {'n': 1}

# What was had runs as what it came from does.
made = client.create_function(FunctionName='again', Runtime='python3.12', Role=ROLE,
                              Handler='app.handler', Code={'ZipFile': body})
assert run('again')[0] == run('tools')[0] == 'ran'
assert download('again')[1] == body
version = client.publish_version(FunctionName='tools')['Version']
assert download('tools', Qualifier=version)[1] == body

# An address is for one thing, for reading, and for a while.
assert status(location, 'HEAD') == 200
assert status(location, 'POST') == 405
assert status(location[:-1] + ('0' if location[-1] != '0' else '1')) == 403
assert status(location.replace('/folder/', '/archive/')) == 403
assert status(location.replace('until=', 'until=9')) == 403
assert status(location.split('?')[0]) == 403

# So does a layer's.
layer = client.publish_layer_version(LayerName='l', Content={'ZipFile': body})
for shown in (layer, client.get_layer_version(LayerName='l', VersionNumber=1),
              client.get_layer_version_by_arn(Arn=layer['LayerVersionArn'])):
    assert urllib.request.urlopen(shown['Content']['Location']).read() == body

# Many at once are all answered.
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(30) as pool:
    assert all(it[1] == body for it in pool.map(lambda _: download('tools'), range(90)))
