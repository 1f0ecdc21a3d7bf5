"""Fake S3 server with the operations that the recording storage uses, in memory, on a free port.

Signatures are not checked. Source: the API reference of Amazon S3 (PutObject, GetObject, ListObjectsV2, DeleteObjects,
and the four of a multipart upload).
"""

import hashlib
import re
from contextlib import asynccontextmanager
from xml.etree import ElementTree

from aiohttp import web

XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
LAST_MODIFIED = "2026-01-01T00:00:00.000Z"


class FakeS3Bucket:
    """One bucket; while ``is_unavailable``, every request gets a 503."""

    def __init__(self):
        self.objects, self._uploads = {}, {}
        self.is_unavailable = False
        self.port = 0

    @asynccontextmanager
    async def serve(self):
        """Serve on 127.0.0.1 at ``port``."""
        app = web.Application(client_max_size=100_000_000)
        app.router.add_route("*", "/{bucket}{slash:/?}{key:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request):
        if self.is_unavailable:
            return web.Response(status=503)
        key, query, body = request.match_info["key"], request.query, await request.read()
        match request.method:
            case "PUT" if "partNumber" in query:
                self._uploads[query["uploadId"]][int(query["partNumber"])] = body
                return web.Response(headers=_etag(body))
            case "PUT":
                self.objects[key] = body
                return web.Response(headers=_etag(body))
            case "POST" if "uploads" in query:
                name = f"upload{len(self._uploads)}"
                self._uploads[name] = {}
                return _xml("InitiateMultipartUploadResult", f"<UploadId>{name}</UploadId>")
            case "POST" if "uploadId" in query:
                parts = self._uploads.pop(query["uploadId"])
                self.objects[key] = b"".join(parts[number] for number in sorted(parts))
                return _xml("CompleteMultipartUploadResult", "<ETag>whole</ETag>")
            case "POST":
                return self._delete(body)
            case "DELETE":
                self._uploads.pop(query.get("uploadId"), None)
                return web.Response(status=204)
            case _:
                return self._read(request, key) if key else self._list(query["prefix"])

    def _read(self, request, key):
        if key not in self.objects:
            return web.Response(status=404)
        body, headers = self.objects[key], {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", **_etag(b"")}
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["Range"]).groups())
        part = body[first : last + 1]
        headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(body)}"
        return web.Response(status=206, body=part, headers=headers)

    def _list(self, prefix):
        result = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(body)}</Size><LastModified>{LAST_MODIFIED}</LastModified></Contents>"
            for key, body in sorted(self.objects.items())
            if key.startswith(prefix)
        )
        return _xml("ListBucketResult", f"<IsTruncated>false</IsTruncated>{result}")

    def _delete(self, body):
        keys = [item.text for item in ElementTree.fromstring(body).iter() if item.tag.endswith("Key")]
        for key in keys:
            self.objects.pop(key, None)
        return _xml("DeleteResult", "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys))


def _etag(body):
    return {"ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}


def _xml(name, inner):
    return web.Response(text=f'<{name} xmlns="{XMLNS}">{inner}</{name}>', content_type="application/xml")
