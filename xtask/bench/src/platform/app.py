# The Python function of the benchmark.
import time

ANSWER = "hello"


def handler(event, context):
    hold = (event.get("queryStringParameters") or {}).get("hold")
    if hold:
        time.sleep(int(hold) / 1000)
    return {"statusCode": 200, "body": ANSWER}
