//! Each folder of `examples/` does what its README says.

use crate::clients::boto3;
use crate::http::{get, post, request};
use crate::project::example;
use crate::test_node::TestNode;

#[test]
fn hello_greets_in_two_languages() {
    let node = TestNode::start(&example("hello"), false);
    for name in ["hello-python", "hello-node"] {
        let answer = get(&format!("{}?name=you", node.url(name))).send();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["message"], "Hello, you!");
    }
}

#[test]
fn thumbnails_come_back_smaller() {
    let node = TestNode::start(&example("thumbnails"), false);
    let url = node.url("thumbnails");
    let small = post(&format!("{url}?width=2"), png(8, 4))
        .header("content-type", "image/png")
        .send();
    assert_eq!(small.status, 200, "{}", small.text());
    assert_eq!(small.header("content-type"), Some("image/png"));
    assert_eq!(&small.body[..8], b"\x89PNG\r\n\x1a\n");
    assert_eq!(&small.body[16..24], &[0, 0, 0, 2, 0, 0, 0, 1]);
    let nonsense = post(&url, "not an image")
        .header("content-type", "image/png")
        .send();
    assert!((400..500).contains(&nonsense.status), "{}", nonsense.status);
}

/// A black PNG: stored deflate blocks and the checksums that the format asks for.
fn png(width: u32, height: u32) -> Vec<u8> {
    fn crc(bytes: &[u8]) -> u32 {
        let table = |mut c: u32| {
            for _ in 0..8 {
                c = if c & 1 == 1 {
                    0xedb8_8320 ^ (c >> 1)
                } else {
                    c >> 1
                };
            }
            c
        };
        !bytes.iter().fold(!0, |crc, b| {
            table((crc ^ u32::from(*b)) & 0xff) ^ (crc >> 8)
        })
    }
    fn chunk(out: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
        out.extend(
            u32::try_from(data.len())
                .expect("a small image")
                .to_be_bytes(),
        );
        let body = [&kind[..], data].concat();
        out.extend(&body);
        out.extend(crc(&body).to_be_bytes());
    }
    let row = [vec![0; 1 + 3 * width as usize]].concat();
    let raw = row.repeat(height as usize);
    let (mut a, mut b) = (1u32, 0u32);
    for byte in &raw {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    let length = u16::try_from(raw.len()).expect("a small image");
    let mut zlib = vec![0x78, 0x01, 0x01];
    zlib.extend(length.to_le_bytes());
    zlib.extend((!length).to_le_bytes());
    zlib.extend(&raw);
    zlib.extend(((b << 16) | a).to_be_bytes());
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [
        &width.to_be_bytes()[..],
        &height.to_be_bytes(),
        &[8, 2, 0, 0, 0],
    ]
    .concat();
    chunk(&mut out, b"IHDR", &header);
    chunk(&mut out, b"IDAT", &zlib);
    chunk(&mut out, b"IEND", &[]);
    out
}

#[test]
fn rest_api_keeps_notes() {
    let node = TestNode::start(&example("rest-api"), false);
    let url = node.url("rest-api");
    let made = post(&format!("{url}notes"), r#"{"text": "milk"}"#)
        .header("content-type", "application/json")
        .send();
    assert_eq!(made.status, 201, "{}", made.text());
    let id = made.json()["id"].to_string().trim_matches('"').to_owned();
    assert_eq!(
        get(&format!("{url}notes/{id}")).send().json()["text"],
        "milk"
    );
    assert!(get(&format!("{url}notes")).send().text().contains("milk"));
    assert_eq!(
        request("DELETE", &format!("{url}notes/{id}")).send().status,
        204
    );
    assert_eq!(get(&format!("{url}notes/{id}")).send().status, 404);
}

#[test]
fn native_answers_from_rust() {
    let node = TestNode::start(&example("native"), false);
    let answer = get(&format!("{}?name=you", node.url("native"))).send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("you"), "{}", answer.text());
    boto3(
        &node,
        r#"
client = boto3.client('lambda')
answer = client.invoke_with_response_stream(FunctionName='native', Payload=b'{"count": 20000}')
events = list(answer['EventStream'])
payload = b''.join(event['PayloadChunk']['Payload'] for event in events[:-1])
head, lines = payload.split(bytes(8), 1)
assert json.loads(head)['statusCode'] == 200, head
assert lines.split() == [b'%d' % n for n in range(1, 20001)], lines[-100:]
assert len(events) > 3 and events[-1] == {'InvokeComplete': {}}, events[-1]
answer = client.invoke_with_response_stream(FunctionName='native', Payload=b'{"name": "you"}')
events = list(answer['EventStream'])
assert json.loads(events[0]['PayloadChunk']['Payload']) == {'message': 'Hello, you!'}, events
"#,
    );
}
