# Requests of every operation with anything in them: each is answered or refused as the service would,
# and the next one is, too. What fails can be run again by its seed.
import http.client, os, random, sys, urllib.parse

SEED = int(os.environ.get('DAYFLY_SEED', time.time_ns()))
chance = random.Random(SEED)
host = urllib.parse.urlsplit(client.meta.endpoint_url)
connection = http.client.HTTPConnection(host.hostname, host.port, timeout=60)
ODD = [None, True, False, 0, -1, 1, 2**31, 2**63, -2**63, 1.5, 1e308, '', 'x', 'a/b', '../..', '$LATEST', 'hello',
       '%00', '\0', '\ud83d\ude00', '\u202e', 'x' * 300, [], {}, [None], {'': ''}, [[[[]]]], 'arn:aws:lambda:us-east-1:000000000000:function:hello',
       'arn:aws:lambda:::', ':' * 20, base64.b64encode(b'no archive').decode(), '{"a":', 'python3.12', ['x'] * 200]


def anything(shape, depth=0):
    """Sometimes what the shape wants, sometimes something else."""
    if depth > 4 or chance.random() < 0.25:
        return chance.choice(ODD)
    if shape.type_name == 'structure':
        return {key: anything(member, depth + 1) for key, member in shape.members.items()
                if key in shape.required_members or chance.random() < 0.3}
    if shape.type_name == 'list':
        return [anything(shape.member, depth + 1) for _ in range(chance.randrange(3))]
    if shape.type_name == 'map':
        return {str(chance.choice(ODD)): anything(shape.value, depth + 1) for _ in range(chance.randrange(3))}
    if getattr(shape, 'enum', None):
        return chance.choice(shape.enum)
    return chance.choice(ODD)


def send(service, method, path, body, more=()):
    scope = f'000000000000/20260101/us-east-1/{service}/aws4_request'
    headers = {'Authorization': f'AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0', **dict(more)}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    said = answer.read()
    where = (SEED, service, method, path[:200], body[:400], answer.status, said[:400])
    assert answer.status < 500 or answer.status in (501, 502), where
    if answer.status >= 400 and service != 'sts':
        assert answer.getheader('x-amzn-errortype') and isinstance(json.loads(said), dict), where


def value(shape, member):
    return urllib.parse.quote(str(chance.choice([anything(shape.members[member]), 'hello', 'hello'])), safe='', errors='replace')


def of_lambda(model):
    shape = model.input_shape
    path = model.http['requestUri'].split('?')[0]
    body = {}
    query = []
    for name, member in (shape.members if shape else {}).items():
        location = member.serialization.get('location')
        key = member.serialization.get('name', name)
        if location == 'uri':
            path = path.replace('{%s}' % key, value(shape, name)).replace('{%s+}' % key, value(shape, name))
        elif location == 'querystring' and chance.random() < 0.4:
            query.append(f'{key}={value(shape, name)}')
        elif location is None and (name in shape.required_members or chance.random() < 0.4):
            body[name] = anything(member)
    text = json.dumps(body).encode()
    if chance.random() < 0.1:
        text = text[:chance.randrange(len(text) + 1)] + chance.randbytes(chance.randrange(4))
    send('lambda', model.http['method'], path + '?' + '&'.join(query), text)


def of_target(service, model):
    body = json.dumps(anything(model.input_shape)).encode() if model.input_shape else b'{}'
    target = f"{model.metadata['targetPrefix']}.{model.name}"
    send(service, 'POST', '/', body, {'X-Amz-Target': target, 'Content-Type': 'application/x-amz-json-1.1'})


def of_query(service, model):
    fields = {'Action': model.name, 'Version': model.metadata['apiVersion']}
    for name in (model.input_shape.members if model.input_shape else ()):
        fields[name] = str(chance.choice(ODD)).encode('utf-8', 'replace').decode()
    send(service, 'POST', '/', urllib.parse.urlencode(fields, errors='replace').encode(),
         {'Content-Type': 'application/x-www-form-urlencoded'})


create()
models = {service: boto3.client(service).meta.service_model for service in ['lambda', 'logs', 'sts']}
until = time.monotonic() + 5
rounds = 0
while time.monotonic() < until:
    for service, known in models.items():
        for name in known.operation_names:
            model = known.operation_model(name)
            # Whatever ends it would be looked for in vain.
            if name in ('DeleteFunction', 'StartLiveTail'):
                continue
            if service == 'lambda':
                of_lambda(model)
            elif service == 'logs':
                of_target(service, model)
            else:
                of_query(service, model)
    rounds += 1
assert rounds > 1, rounds
client.get_function(FunctionName='hello')
client.delete_function_concurrency(FunctionName='hello')
client.update_function_code(FunctionName='hello', ZipFile=archive({'app.py': HELLO}))
client.update_function_configuration(FunctionName='hello', Handler='app.handler', Runtime='python3.12', Timeout=5,
                                     MemorySize=128, Environment={'Variables': {}}, Layers=[])
run()
