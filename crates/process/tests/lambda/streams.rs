//! Answers that are streamed out of jails, over frames and over the Runtime API.

use std::sync::Arc;

use engine::port::Instance;
use engine::stream::{self, Piece};

use crate::world::{Function, World, shown};

const NODE: &str = "exports.handler = awslambda.streamifyResponse(async (event, stream) => {\
    stream.setContentType('text/plain');\
    stream.write('one ');\
    if (event === 'exit') { await new Promise((resolve) => setTimeout(resolve, 1)); process.exit(3) }\
    stream.end('two') })";

/// Streams its answer by hand, or ends half-way where the event says so.
const BOOTSTRAP: &str = r#"#!/bin/bash
address=${AWS_LAMBDA_RUNTIME_API%%/*}
base=${AWS_LAMBDA_RUNTIME_API#"$address"}/2018-06-01/runtime
exec 5<>"/dev/tcp/${address/://}"
read_answer() {
    length=0
    while IFS= read -r line <&5; do
        line=${line%$'\r'}
        case "${line,,}" in
            content-length:*) length=${line#*: } ;;
            lambda-runtime-aws-request-id:*) id=${line#*: } ;;
            '') break ;;
        esac
    done
    body=
    [ "$length" = 0 ] || IFS= read -r -N "$length" body <&5
}
while true; do
    printf 'GET %s/invocation/next HTTP/1.1\r\nHost: a\r\n\r\n' "$base" >&5
    read_answer
    printf '%s\r\n' "POST $base/invocation/$id/response HTTP/1.1" 'Host: a' \
        'Lambda-Runtime-Function-Response-Mode: streaming' 'Content-Type: text/plain' \
        'Transfer-Encoding: chunked' '' 4 'one ' >&5
    [ "$body" = '"exit"' ] && { read -r -t 0.2 <&5; exit 3; }
    printf '%s\r\n' 3 two 0 '' >&5
    read_answer
done
"#;

pub(crate) async fn answers_are_streamed(world: World) {
    streams(&world.function("nodejs20.x", "index.handler", &[("index.js", NODE)])).await;
    streams(&world.function("provided.al2023", "", &[("bootstrap", BOOTSTRAP)])).await;
}

async fn streams(function: &Function) {
    let instance = function.instance().await;
    for _ in 0..3 {
        let seen = read(&instance, function, "1").await;
        assert_eq!(
            seen,
            "text/plain: one two replied",
            "{}",
            function.log.text()
        );
    }
    // The same function answers whole where nobody reads it as it writes.
    let whole = instance.invoke(function.call("1")).await;
    assert_eq!(shown(&whole), "replied one two");
    let broken = read(&instance, function, "\"exit\"").await;
    assert!(
        broken.starts_with("text/plain: one crashed") && broken.contains("exit status 3"),
        "{broken}\n{}",
        function.log.text()
    );
    assert!(!instance.is_alive());
    instance.stop().await;
}

/// What the answer is, its parts, and how it ended.
async fn read(instance: &Arc<dyn Instance>, function: &Function, event: &str) -> String {
    let (sink, reader) = stream::open(Arc::new(store::SystemClock::new()));
    let mut call = function.call(event);
    call.sink = Some(sink);
    let instance = Arc::clone(instance);
    let mut streamed = reader.of(tokio::spawn(async move { Ok(instance.invoke(call).await) }));
    let mut seen = String::new();
    while let Some(piece) = streamed.next().await {
        seen += &match piece {
            Piece::Begin { content_type } => format!("{}: ", content_type.unwrap_or_default()),
            Piece::Data(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Piece::Whole => String::new(),
            Piece::End(Ok(execution)) => format!(" {}", shown(&execution)),
            Piece::End(Err(error)) => error.to_string(),
        };
    }
    seen.replace("  ", " ").trim_end().to_owned()
}
