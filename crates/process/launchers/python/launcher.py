"""Runs a Python handler for the platform: takes invocations as frames from an inherited pipe and
answers them at a socket. Keeps to the programming model of AWS Lambda; standard library only, and
as little of that as it can: what an import costs, every cold start pays.

The frames are described in `contract/lambda/frame.rs`.
"""

import builtins
import os
import sys
import time
from _struct import Struct
from _thread import allocate_lock

SOCKET = 3
REQUESTS = 4
VERSION = 1
HELLO, INIT, READY, INIT_ERROR, INVOKE, DATA, END, ERROR, CREDIT, CANCEL, LOG = range(1, 12)
BRING, BROUGHT = 13, 14
FLAG_TOO_LARGE = 1
FLAG_REFUSED = 16
FLAG_STOOD = 32
FRAME_BYTES_MAX = 256 * 1024
RESPONSE_BYTES_MAX = 6 * 1024 * 1024 + 100
CREDIT_BYTES_INITIAL = 8 * 1024 * 1024
NOBODY = bytes(16)
HEADER = Struct("<IBBH16s")

# Stands for a line end inside one record of the log. It occurs in no UTF-8 text, so that what a
# function prints is never taken for it.
RECORD_NEWLINE = b"\xff"
# Begins a record's line, even where something was printed without a line end.
RECORD_START = b"\xfe"
NO_BREAK_SPACE = "\u00a0"


class Fault(Exception):
    """A failure of the programming model's own, with the type that callers see."""

    def __init__(self, error_type, message, trace=None):
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.trace = trace


class Hangup(BaseException):
    """The platform closed its end: there is nobody left to work for."""


# --- frames ---------------------------------------------------------------------------------

_pending = bytearray()
_credit = 0
# A thread of the function's may ask for something, so that others than the main one read and write.
_reading = allocate_lock()
_writing = allocate_lock()


def _read():
    try:
        data = os.read(REQUESTS, 65536)
    except OSError:
        raise Hangup
    if not data:
        raise Hangup
    return data


def _read_frame():
    """The next frame: kind, flags, id and payload."""
    while len(_pending) < 24:
        _pending.extend(_read())
    size, version, kind, flags, ident = HEADER.unpack_from(_pending)
    if version != VERSION:
        raise Hangup
    end = 24 + size
    while len(_pending) < end:
        _pending.extend(_read())
    payload = bytes(_pending[24:end])
    del _pending[:end]
    return kind, flags, ident, payload


def _write(data):
    with _writing:
        try:
            written = os.write(SOCKET, data)
            if written < len(data):
                rest = memoryview(data)[written:]
                while rest:
                    rest = rest[os.write(SOCKET, rest) :]
        except OSError:
            raise Hangup


def _send(kind, ident, payload, flags=0):
    _write(HEADER.pack(len(payload), VERSION, kind, flags, ident) + payload)


def _send_body(kind, ident, body):
    """Sends a body that may be larger than one frame; `kind` is the last frame's."""
    global _credit
    if len(body) <= FRAME_BYTES_MAX:
        return _send(kind, ident, body)
    start = 0
    while len(body) - start > FRAME_BYTES_MAX:
        while _credit < FRAME_BYTES_MAX:
            with _reading:
                _take_credit(_read_frame())
        _credit -= FRAME_BYTES_MAX
        _send(DATA, ident, body[start : start + FRAME_BYTES_MAX])
        start += FRAME_BYTES_MAX
    _send(kind, ident, body[start:])


def _take_credit(frame):
    global _credit
    kind, _, _, payload = frame
    if kind == CREDIT:
        _credit += int.from_bytes(payload[:4], "little")


def _next_invocation():
    """Waits for an invocation: its id, its head and its body."""
    with _reading:
        return _read_invocation()


def _read_invocation():
    global _credit
    _credit = CREDIT_BYTES_INITIAL
    if not _pending:
        # Nearly always one read brings all of it.
        data = _read()
        if len(data) >= 48:
            size, _, kind, _, ident = HEADER.unpack_from(data)
            end = 24 + size
            if kind == INVOKE and len(data) >= end + 24:
                size, _, kind, _, _ = HEADER.unpack_from(data, end)
                if kind == END and len(data) == end + 24 + size:
                    return ident, _decode(str(data[24:end], "utf-8")), data[end + 24 :]
        _pending.extend(data)
    while True:
        kind, _, ident, payload = _read_frame()
        if kind == INVOKE:
            break
    head = payload
    body = b""
    while True:
        kind, _, other, payload = _read_frame()
        if other != ident:
            continue
        if kind == END:
            break
        if kind == DATA:
            body += payload
    return ident, _decode(head.decode()), body + payload


# --- JSON -----------------------------------------------------------------------------------
# The package `json` costs as much to import as the interpreter costs to start, so the parts of
# it that are written in C are used directly while everything goes well. It has the last word on
# everything unusual.

_ascii = os.environ.get("AWS_EXECUTION_ENV", "").rpartition(".")[2] in ("8", "9", "10", "11")
_salt = "\0" + os.urandom(8).hex()
_decimals = []


def _plain(value):
    """What the encoder does not know: numbers of any precision, and bytes as text."""
    decimal = sys.modules.get("decimal")
    if decimal is not None and isinstance(value, decimal.Decimal):
        if value.is_nan():
            return float("nan")
        _decimals.append(str(value))
        return "%s%d\0" % (_salt, len(_decimals) - 1)
    if isinstance(value, bytes):
        return value.decode("utf-8")
    raise TypeError("Object of type %s is not JSON serializable" % value.__class__.__name__)


class _Rules:
    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {
        "-Infinity": float("-inf"),
        "Infinity": float("inf"),
        "NaN": float("nan"),
    }.__getitem__
    memo = {}


try:
    import _json

    _scan = _json.make_scanner(_Rules)
    _quote = _json.encode_basestring_ascii if _ascii else _json.encode_basestring

    def _new_encoder():
        return _json.make_encoder({}, _plain, _quote, None, ": ", ", ", False, False, True)

    _encoder = _new_encoder()
except (ImportError, AttributeError, TypeError):
    _scan = _encoder = None


def _decode(text):
    text = text.strip(" \t\r\n")
    if _scan is not None:
        try:
            value, end = _scan(text, 0)
            if end == len(text):
                return value
        except (StopIteration, ValueError):
            pass
    import json

    return json.loads(text)


def _encode(value):
    global _encoder
    try:
        if _encoder is not None:
            try:
                text = "".join(_encoder(value, 0))
            except BaseException:
                # It remembers what it was inside of, to find circles.
                _encoder = _new_encoder()
                raise
        else:
            import json

            text = json.dumps(value, default=_plain, ensure_ascii=_ascii)
        if _decimals:
            quote = '"%s%d\\u0000"'
            salt = "\\u0000" + _salt[1:]
            for index, digits in enumerate(_decimals):
                text = text.replace(quote % (salt, index), digits, 1)
        return text.encode("utf-8")
    finally:
        if _decimals:
            _decimals.clear()


# --- log ------------------------------------------------------------------------------------

_request_id = None
_tenant_id = None
_log_json = False
_log_level = ""


def _set_log():
    global _log_json, _log_level
    _log_json = os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
    _log_level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    if _log_level == "TRACE":
        _log_level = "DEBUG"


def _write_record(text):
    """Writes one record as one event of the log, in order with what was printed."""
    _flush()
    text = text.rstrip("\n").encode("utf-8", "replace")
    data = RECORD_START + text.replace(b"\n", RECORD_NEWLINE) + b"\n"
    while data:
        data = data[os.write(1, data) :]


class LogSink:
    """Where log records go."""

    def log(self, message, frame_type=None):
        _write_record(message)


# What Lambda's own runtime has loaded before a function's code comes: no file of the function's
# hides any of it there, and so none does here, whether it is loaded yet or not.
_RUNTIME_LOADS = ("json", "logging", "traceback", "decimal", "datetime", "http.client", "base64")
_RUNTIME_HAS = frozenset(
    "base64 binascii bisect calendar collections contextlib copyreg datetime decimal email enum"
    " functools heapq http ipaddress json keyword linecache locale logging math numbers operator"
    " quopri random re reprlib select selectors socket sre_compile sre_constants sre_parse ssl string"
    " struct textwrap threading token tokenize traceback types urllib uu warnings weakref".split()
)


class _RuntimeFinder:
    """Finds that where Python has it, and configures the package `logging` as soon as somebody
    imports it, and not before: half of all functions never do."""

    def __init__(self):
        library = os.__file__.rpartition("/")[0]
        self.library = [library, library + "/lib-dynload"]

    def find_spec(self, name, path=None, target=None):
        if path is not None or name not in _RUNTIME_HAS:
            return None
        from _frozen_importlib_external import PathFinder

        spec = PathFinder.find_spec(name, self.library, target)
        if spec is not None and name == "logging":
            spec.loader = _LoggingLoader(spec.loader)
        return spec


class _LoggingLoader:
    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        # How is known with the function only.
        if not _is_booted():
            _configure_logging(module)


def _configure_logging(logging):
    class LambdaLoggerFilter(logging.Filter):
        def filter(self, record):
            record.aws_request_id = _request_id or ""
            record.tenant_id = _tenant_id
            return True

    class LambdaLoggerHandler(logging.Handler):
        def __init__(self):
            super().__init__()
            self.log_sink = LogSink()

        def emit(self, record):
            self.log_sink.log(self.format(record))

    logging.Formatter.converter = time.gmtime
    handler = LambdaLoggerHandler()
    if _log_json:
        handler.setFormatter(_json_formatter(logging))
    else:
        layout = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
        handler.setFormatter(logging.Formatter(layout, "%Y-%m-%dT%H:%M:%S"))
    handler.addFilter(LambdaLoggerFilter())
    root = logging.getLogger()
    if _log_level in logging._nameToLevel:
        root.setLevel(_log_level)
    root.addHandler(handler)


def _json_formatter(logging):
    import json

    inherent = set(vars(logging.makeLogRecord({})))
    inherent |= {"message", "asctime", "taskName", "aws_request_id", "tenant_id"}
    encode = json.JSONEncoder(ensure_ascii=False, default=str).encode

    class JsonFormatter(logging.Formatter):
        def format(self, record):
            level = min(50, max(0, record.levelno)) // 10 * 10
            raw = isinstance(record.msg, dict) and not record.args
            fields = {
                "timestamp": self.formatTime(record, "%Y-%m-%dT%H:%M:%SZ"),
                "level": logging.getLevelName(level),
                "message": record.msg if raw else record.getMessage(),
                "logger": record.name,
            }
            if record.exc_info:
                import traceback

                kind, value, trace = record.exc_info
                fields["stackTrace"] = traceback.format_tb(trace) if trace else None
                fields["errorType"] = kind.__name__ if kind else None
                fields["errorMessage"] = str(value) if value is not None else None
            fields["requestId"] = record.aws_request_id
            if record.exc_info:
                place = (record.pathname, record.funcName, record.lineno)
                fields["location"] = "%s:%s:%s" % place
            fields["tenantId"] = record.tenant_id
            for name, value in vars(record).items():
                if name not in inherent and name not in fields:
                    fields[name] = value
            return encode({key: value for key, value in fields.items() if value is not None})

    return JsonFormatter()


def _log_error(error):
    if _log_json:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        record = {"timestamp": stamp, "level": "ERROR"}
        record.update(error)
        _write_record(_encode(record).decode("utf-8", "replace"))
        return
    words = ["[ERROR]"]
    if error["errorType"]:
        words.append(error["errorType"] + (":" if error["errorMessage"] else ""))
    if error["errorMessage"]:
        words.append(error["errorMessage"])
    lines = [" ".join(words), "Traceback (most recent call last):"]
    for entry in error["stackTrace"]:
        for line in entry.splitlines() or [""]:
            bare = line.lstrip(" ")
            lines.append(NO_BREAK_SPACE * (len(line) - len(bare)) + bare)
    _write_record("\n".join(lines))


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass


# --- errors ---------------------------------------------------------------------------------


def _error(error_type, message, trace, request_id=""):
    return {
        "errorMessage": message or "",
        "errorType": error_type or "",
        "requestId": request_id,
        "stackTrace": trace or [],
    }


def _error_of(value, request_id=""):
    """An exception in the form that callers see, without the frames of this file."""
    if isinstance(value, Fault):
        return _error(value.error_type, value.message, value.trace, request_id)
    import traceback

    frames = traceback.extract_tb(value.__traceback__)
    start = 0
    while start < len(frames) and frames[start].filename == _error_of.__code__.co_filename:
        start += 1
    if start == len(frames):
        start = 0
    frames = [(f.filename, f.lineno, f.name, f.line) for f in frames[start:]]
    trace = traceback.format_list(frames)
    return _error(type(value).__name__, str(value), trace, request_id)


# --- context --------------------------------------------------------------------------------


class _Record:
    """An object with a fixed set of fields, read from a dictionary."""

    __slots__ = ()

    def __init__(self, values):
        for field in self.__slots__:
            setattr(self, field, values.get(field))

    def __repr__(self):
        fields = ",".join("%s=%s" % (name, getattr(self, name)) for name in self.__slots__)
        return "%s([%s])" % (self.__class__.__name__, fields)


class Client(_Record):
    """The mobile application behind the call."""

    __slots__ = (
        "installation_id",
        "app_title",
        "app_version_name",
        "app_version_code",
        "app_package_name",
    )


class ClientContext(_Record):
    """What the caller sent as client context."""

    __slots__ = ("custom", "env", "client")

    def __init__(self, values):
        super().__init__(values)
        if self.client is not None:
            self.client = Client(self.client)


class CognitoIdentity(_Record):
    """Who the caller is to Amazon Cognito."""

    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")

    def __init__(self, values):
        self.cognito_identity_id = values.get("cognitoIdentityId")
        self.cognito_identity_pool_id = values.get("cognitoIdentityPoolId")


# What is the same in every context, in the order in which that takes it.
_fixed = (None,) * 5


def _fix_context():
    global _fixed
    names = ("LOG_GROUP_NAME", "LOG_STREAM_NAME", "FUNCTION_NAME", "FUNCTION_MEMORY_SIZE")
    names += ("FUNCTION_VERSION",)
    _fixed = tuple(os.environ.get("AWS_LAMBDA_" + name) for name in names)


class LambdaContext:
    """The second argument of a handler."""

    def __init__(self, head):
        (
            self.log_group_name,
            self.log_stream_name,
            self.function_name,
            self.memory_limit_in_mb,
            self.function_version,
        ) = _fixed
        self.aws_request_id = head["id"]
        self.invoked_function_arn = head["arn"]
        self.tenant_id = head.get("tenant_id")
        self._trace_fields = {}
        self.client_context = None
        if "client_context" in head:
            client = _parse_header(head["client_context"], "Client Context")
            if isinstance(client, dict):
                self._take_client(client)
        identity = {}
        if "cognito_identity" in head:
            identity = _parse_header(head["cognito_identity"], "Cognito Identity") or {}
        self.identity = CognitoIdentity(identity)
        self._epoch_deadline_time_in_ms = head["deadline_ms"]

    def _take_client(self, client):
        fields = client.pop("w3c", None)
        if isinstance(fields, dict):
            names = ("traceparent", "tracestate", "baggage")
            texts = {n: fields[n] for n in names if isinstance(fields.get(n), str)}
            self._trace_fields = texts
        self.client_context = ClientContext(client)

    def get_remaining_time_in_millis(self):
        """Milliseconds until the invocation is ended."""
        deadline_ms = self._epoch_deadline_time_in_ms + _stood_ms
        return max(0, deadline_ms - int(time.time() * 1000))

    def w3c(self):
        """The W3C trace context that came with the call."""
        return dict(self._trace_fields)

    def log(self, message):
        """Writes one record to the log."""
        _write_record(str(message))

    def __repr__(self):
        names = (
            "aws_request_id",
            "log_group_name",
            "log_stream_name",
            "function_name",
            "memory_limit_in_mb",
            "function_version",
            "invoked_function_arn",
            "client_context",
            "identity",
            "tenant_id",
        )
        fields = ",".join("%s=%s" % (name, getattr(self, name)) for name in names)
        return "LambdaContext([%s])" % fields


def _parse_header(text, name):
    if not text:
        return None
    try:
        return _decode(text)
    except Exception as error:
        kind = "Runtime.LambdaContextUnmarshalError"
        raise Fault(kind, "Unable to parse %s JSON: %s" % (name, error))


# --- handler --------------------------------------------------------------------------------


def _load_handler(handler):
    module_name, dot, function_name = handler.rpartition(".")
    if not dot:
        reason = "not enough values to unpack (expected 2, got 1)"
        raise Fault("Runtime.MalformedHandlerName", "Bad handler '%s': %s" % (handler, reason))
    if module_name.split(".")[0] in sys.builtin_module_names:
        message = "Cannot use built-in module %s as a handler module" % module_name
        raise Fault("Runtime.BuiltInModuleConflict", message)
    path = module_name.replace("/", ".")
    try:
        from _frozen_importlib import _gcd_import

        module = _gcd_import(path)
    except ImportError as error:
        message = "Unable to import module '%s': %s" % (module_name, error)
        raise Fault("Runtime.ImportModuleError", message)
    except SyntaxError as error:
        message = "Syntax error in module '%s': %s" % (module_name, error)
        trace = ['  File "%s" Line %s\n    %s' % (error.filename, error.lineno, error.text)]
        raise Fault("Runtime.UserCodeSyntaxError", message, trace)
    try:
        return getattr(module, function_name)
    except AttributeError:
        message = "Handler '%s' missing on module '%s'" % (function_name, module_name)
        raise Fault("Runtime.HandlerNotFound", message)


def _set_trace(trace):
    if trace is not None:
        # Not by way of the C library, which never frees a value that was once set and looks
        # through all of them: after a million invocations that is most of a small function.
        data = getattr(os.environ, "_data", None)
        if type(data) is dict:
            data[b"_X_AMZN_TRACE_ID"] = trace.encode("utf-8", "surrogateescape")
        else:
            os.environ["_X_AMZN_TRACE_ID"] = trace
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)


def _run_once(handler, ident, head, body):
    global _stood_ms
    _stood_ms = 0
    request_id = head["id"]
    try:
        context = LambdaContext(head)
        try:
            event = _decode(body.decode("utf-8"))
        except Exception as error:
            raise Fault("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % error)
        response = handler(event, context)
        if not isinstance(response, bytes):
            try:
                response = _encode(response)
            except Exception as error:
                message = "Unable to marshal response: %s" % error
                raise Fault("Runtime.MarshalError", message)
    except Exception as raised:
        error = _error_of(raised, request_id)
        _log_error(error)
        _flush()
        _send_body(ERROR, ident, _encode(error))
        return
    _flush()
    if len(response) > RESPONSE_BYTES_MAX:
        _send(END, ident, str(len(response)).encode(), FLAG_TOO_LARGE)
    else:
        _send_body(END, ident, response)


def _initialise():
    global _heard
    kind, _, _, payload = _read_frame()
    while kind != INIT:
        kind, _, _, payload = _read_frame()
    for entry in payload.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals:
            os.environb[name] = value
    _set_log()
    if _is_booted():
        _move_in()
    _fix_context()
    _heard = os.getpid()
    try:
        return _load_handler(os.environ.get("_HANDLER", ""))
    except Exception as raised:
        error = _error_of(raised)
    _log_error(error)
    _flush()
    _send_body(INIT_ERROR, NOBODY, _encode(error))
    sys.exit(1)


# --- life before the function ---------------------------------------------------------------
# The platform may start this process before it knows for which function. Then there is time to load
# what Lambda's own runtime has loaded before a function's code comes.


def _is_booted():
    return "_DAYFLY_BOOTED" in os.environ


def _load_ahead():
    for name in _RUNTIME_LOADS:
        __import__(name)


def _move_in():
    """The function's folders came after this process."""
    del os.environ["_DAYFLY_BOOTED"]
    os.chdir(os.environ["LAMBDA_TASK_ROOT"])
    # It may be remembered that they were not there.
    sys.path_importer_cache.clear()
    if "logging" in sys.modules:
        _configure_logging(sys.modules["logging"])


# The process that the platform listens to, once it does.
_heard = None

# How long it was waited for that in this invocation, which the platform does not count as the
# function's time, up to so much.
STANDS_MAX_MS = 120000
_stood_ms = 0


def _bring(name, place):
    """Has what Lambda's runtime brings come to its place; why it cannot."""
    if not place:
        return "there is no place for it here"
    if _is_folder(place):
        return None
    if _heard is None:
        return "nothing can be asked for so early"
    if _heard != os.getpid():
        return "only the function's first process can ask for it"
    global _stood_ms
    with _reading:
        asked = time.time()
        _send(BRING, NOBODY, name.encode())
        others = b""
        while True:
            kind, flags, ident, payload = _read_frame()
            if kind == BROUGHT:
                break
            others += HEADER.pack(len(payload), VERSION, kind, flags, ident) + payload
        _pending[:0] = others
        if flags & FLAG_STOOD:
            stood_ms = max(int((time.time() - asked) * 1000), 0)
            _stood_ms = min(_stood_ms + stood_ms, STANDS_MAX_MS)
    if flags & FLAG_REFUSED:
        return payload.decode("utf-8", "replace")
    return None if _is_folder(place) else "it was fetched, but cannot be seen here"


def _is_folder(path):
    try:
        return os.stat(path).st_mode & 0o170000 == 0o040000
    except OSError:
        return False


class _BroughtSdk:
    """Asked last: has the platform fetch what Lambda's runtime brings, or says why it cannot."""

    def __init__(self, place):
        self.place = place

    def find_spec(self, name, path=None, target=None):
        if name not in ("boto3", "botocore", "s3transfer"):
            return None
        why = _bring(name, self.place)
        if why is None:
            from _frozen_importlib_external import PathFinder

            if self.place not in sys.path:
                sys.path.append(self.place)
            # It may be remembered as a folder that is not there.
            sys.path_importer_cache.pop(self.place, None)
            return PathFinder.find_spec(name, None, target)
        # Whoever only looks whether it is there is told that it is not.
        if sys._getframe(2).f_code.co_name == "find_spec":
            return None
        hint = (
            "No module named '%s': Lambda's runtime brings it, but it could not be fetched here: "
            "%s; try again with a connection to the package index, or put it into the package"
        )
        raise ModuleNotFoundError(hint % (name, why), name=name)


def _set_paths():
    """Modules are found where Lambda finds them: the package, then layers, then the rest."""
    layers = os.environ.pop("_DAYFLY_LAYERS", "/opt") + "/python"
    libraries = layers + "/lib/python%s/site-packages"
    own = "%d.%d" % sys.version_info[:2]
    paths = [os.environ.get("LAMBDA_TASK_ROOT", "/var/task"), libraries % own, layers]
    # A layer was made for the version that was asked for, which another may stand in for.
    wanted = os.environ.get("AWS_EXECUTION_ENV", "").rpartition("python")[2]
    if wanted and wanted != own:
        paths.insert(1, libraries % wanted)
    sys.path[:1] = paths
    sdk = os.environ.pop("_DAYFLY_SDK", None)
    place = sdk and sdk + "/packages"
    # It is in the path of whatever the function starts, and comes last here.
    if place in sys.path:
        sys.path.remove(place)
    if place and _is_folder(place):
        sys.path.append(place)
    else:
        sys.meta_path.append(_BroughtSdk(place))


def _customise():
    """Loads what `site` would load, were it loaded: tools that wrap the runtime begin there."""
    if not os.environ.get("AWS_LAMBDA_EXEC_WRAPPER"):
        return
    for name in ("sitecustomize", "usercustomize"):
        try:
            __import__(name)
        except Exception as error:
            if getattr(error, "name", None) != name:
                import traceback

                traceback.print_exc()


def _listen_for_debugger():
    port = os.environ.pop("_DAYFLY_INSPECT_PORT", None)
    if port is None:
        return
    at = os.environ.pop("_DAYFLY_INSPECT_AT", port)
    try:
        import debugpy

        debugpy.listen(("127.0.0.1", int(port)))
        text = "attach debugpy in an editor to 127.0.0.1:%s" % at
    except Exception as error:
        hint = "add debugpy to the function's requirements to debug it"
        text = "cannot listen: %s; %s" % (error, hint)
    name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
    _write_record("debugger: %s; timeouts are suspended for %s" % (text, name))


def _main():
    global _request_id, _tenant_id
    # `site`, which defines them, is not loaded: the host's own packages are none of ours.
    for name in ("exit", "quit"):
        if not hasattr(builtins, name):
            setattr(builtins, name, sys.exit)
    os.set_blocking(SOCKET, True)
    os.set_inheritable(SOCKET, False)
    os.set_inheritable(REQUESTS, False)
    sys.meta_path.insert(0, _RuntimeFinder())
    _set_paths()
    _set_log()
    _customise()
    _send(HELLO, NOBODY, b"python %d.%d.%d" % sys.version_info[:3])
    if _is_booted():
        _load_ahead()
    _listen_for_debugger()
    handler = _initialise()
    _flush()
    _send(READY, NOBODY, b"")
    trace = None
    while True:
        ident, head, body = _next_invocation()
        _request_id = head["id"]
        _tenant_id = head.get("tenant_id")
        if head.get("trace") != trace:
            trace = head.get("trace")
            _set_trace(trace)
        _run_once(handler, ident, head, body)


if __name__ == "__main__":
    try:
        _main()
    except Hangup:
        os._exit(0)
