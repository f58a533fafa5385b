"""A server of moto on loopback that answers as AWS does, and one that refuses as AWS does."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
import urllib.parse
import urllib.request

REGION = "us-east-1"
SECRET = "a-secret-that-nothing-may-print"


def environment(url):
    """Variables under which boto3 and s3fs ask `url`, and nothing of the user's own account."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "AKIALOOPBACK",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }


@contextlib.contextmanager
def moto_server():
    """Yields a server with an empty account; it has placement groups, and may refuse requests."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # Its accounts outlive the server that a test before has stopped.
    reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset).close()
    front = PlacementGroups(port)
    s3fs.S3FileSystem.clear_instance_cache()  # of another server
    threading.Thread(target=front.serve_forever, daemon=True).start()
    try:
        yield front
    finally:
        front.shutdown()
        front.server_close()
        server.stop()


class PlacementGroups(http.server.ThreadingHTTPServer):
    """Answers the three calls about placement groups, which moto lacks; passes on all others."""

    def __init__(self, port):
        super().__init__(("127.0.0.1", 0), PassingOn)
        self.port = port
        self.groups = {}
        self.requests = []  # (method, path)
        self.refuses = lambda method, path: False  # closes the connection without an answer

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class PassingOn(http.server.BaseHTTPRequestHandler):
    server: PlacementGroups
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fields = dict(urllib.parse.parse_qsl(body.decode(errors="replace")))
        action, name = fields.get("Action", ""), fields.get("GroupName", "")
        if not action.endswith(("PlacementGroup", "PlacementGroups")):
            return self.pass_on(body)
        groups = self.server.groups
        if action == "CreatePlacementGroup":
            groups[name] = (fields["Strategy"], fields["TagSpecification.1.Tag.1.Value"])
        elif action == "DeletePlacementGroup":
            del groups[name]
        wanted = fields.get("Filter.1.Value.1")
        items = "".join(
            f"<item><groupName>{group}</groupName><strategy>{strategy}</strategy></item>"
            for group, (strategy, tag) in groups.items()
            if wanted in (None, tag)
        )
        text = (
            f"<{action}Response><placementGroupSet>{items}</placementGroupSet></{action}Response>"
        )
        return self.answer(200, {}, text.encode())

    def do_GET(self):
        self.pass_on(None)

    def do_HEAD(self):
        self.pass_on(None)

    def do_DELETE(self):
        self.pass_on(None)

    def do_PUT(self):
        self.pass_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def pass_on(self, body):
        path = urllib.parse.unquote(self.path.partition("?")[0])
        if self.server.refuses(self.command, path):
            self.close_connection = True
            return
        self.server.requests.append((self.command, path))
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
        connection.request(self.command, self.path, body, dict(self.headers))
        reply = connection.getresponse()
        self.answer(reply.status, dict(reply.getheaders()), reply.read())
        connection.close()

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def refusing_server(code, message, status=400):
    """Yields the address of a server that answers everything with an error of EC2."""
    body = (
        f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        "<RequestID>1</RequestID></Response>"
    ).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
