"""What ordinary programs do, in so far as the kernel has a part in it."""

import asyncio, concurrent.futures, ctypes, hashlib, mmap, multiprocessing, os, random, select
import shutil, signal, socket, ssl, subprocess, sys, tempfile, threading, time, uuid

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "a")
    with open(path, "wb") as file:
        file.write(b"x" * 100_000)
        os.fsync(file.fileno())
    shutil.copy2(path, path + "b")
    os.rename(path + "b", path + "c")
    with open(path + "c", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        assert mapped[:1] == b"x"
    assert sorted(os.listdir(folder)) == ["a", "ac"]

results = []
threads = [threading.Thread(target=results.append, args=(n,)) for n in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert sorted(results) == list(range(8))

assert subprocess.run(["/bin/sh", "-c", "exit 7"]).returncode == 7
assert subprocess.check_output([sys.executable, "-c", "print(1)"], start_new_session=True) == b"1\n"
if os.fork() == 0:
    os._exit(0)
os.wait()

with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    assert list(pool.map(abs, [-3])) == [3]


async def main():
    async def serve(reader, writer):
        writer.write(await reader.read(4))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"ping")
    assert await reader.read(4) == b"ping"
    writer.close()
    child = await asyncio.create_subprocess_exec("/bin/true")
    assert await child.wait() == 0


asyncio.run(main())

addresses = {info[4][0] for info in socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)}
assert "127.0.0.1" in addresses, addresses
wanted = socket.getaddrinfo("localhost", 80, flags=socket.AI_ADDRCONFIG)
assert wanted
try:
    socket.getaddrinfo("no-such-name.invalid", 80)
    raise AssertionError("a name that cannot be was resolved")
except socket.gaierror:
    pass
left, right = socket.socketpair()
left.send(b"x")
assert right.recv(1) == b"x"
assert socket.gethostname()

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
signal.setitimer(signal.ITIMER_REAL, 0.001)
assert signal.sigwait({signal.SIGALRM}) == signal.SIGALRM
assert uuid.uuid4() != uuid.uuid4() and random.SystemRandom().random() < 1
hashlib.sha256(b"").hexdigest()
ssl.create_default_context()
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
assert CALLBACK(lambda n: n + 1)(1) == 2
assert select.epoll() and os.cpu_count() and time.monotonic() > 0 and os.sched_getaffinity(0)
print("python is well")
