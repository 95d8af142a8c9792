# Answers length-prefixed frames on the Unix socket it is given: the least that a Python child
# of a relay can do.
import socket
import sys

connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
answer = b"hello"
answer = len(answer).to_bytes(4, "big") + answer
pending = b""
while True:
    while len(pending) < 4 or len(pending) < 4 + int.from_bytes(pending[:4], "big"):
        read = connection.recv(65536)
        if not read:
            sys.exit()
        pending += read
    pending = pending[4 + int.from_bytes(pending[:4], "big") :]
    connection.sendall(answer)
