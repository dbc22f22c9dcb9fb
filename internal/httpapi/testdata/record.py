"""Records fastapi.json: what FastAPI itself answers to odd requests.

Needs fastapi 0.165.0, starlette 1.10.0, pydantic 2.14.4, python-multipart 0.0.34
and uvicorn 0.54.0, which the recording is of. Run in this folder: python record.py
"""
import base64
import json
import socket
import threading
import time

import uvicorn
from fastapi import FastAPI, File, Form, UploadFile, Response
from fastapi.middleware.cors import CORSMiddleware
from urllib.parse import quote

app = FastAPI(title="YOLO Inference Backend")
app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_credentials=True,
                   allow_methods=["*"], allow_headers=["*"])


@app.get("/api/v1/health")
def health():
    return {"inference_ok": True}


@app.get("/api/v2/models")
def models():
    return {"0": {"model_name": "a"}}


@app.get("/api/v2/cache/stats")
def stats():
    return {}


@app.post("/api/v1/detect")
async def detect1(response: Response, file: UploadFile = File(...)):
    return await go(response, file, 0)


@app.post("/api/v2/detect")
async def detect2(response: Response, file: UploadFile = File(...), model_id: int = Form(0)):
    return await go(response, file, model_id)


async def go(response, file, model_id):
    data = await file.read()
    response.headers["x-file-size"] = str(len(data))
    response.headers["x-file-name"] = quote(file.filename or "")
    if model_id not in (0, 1, 2):
        return {"error": f"Model ID {model_id} not found"}
    return {"predictions": []}

B = "BOUNDARYx"
CT = f"multipart/form-data; boundary={B}"

def part(name=None, value="", filename=None, disp=None, headers=()):
    if disp is None:
        disp = f'form-data; name="{name}"'
        if filename is not None:
            disp += f'; filename="{filename}"'
    h = f"--{B}\r\n"
    if disp != "":
        h += f"Content-Disposition: {disp}\r\n"
    for x in headers:
        h += x + "\r\n"
    h += "\r\n"
    if isinstance(value, str):
        return [h + value + "\r\n"]
    return [h, value, "\r\n"]

END = [f"--{B}--\r\n"]
FILE = part("file", "JPEGDATA", "a.jpg", headers=["Content-Type: image/jpeg"])
cases = []
def add(name, method="POST", path="/api/v2/detect", headers=None, body=None, ct=CT):
    h = dict(headers or {})
    if body is not None and ct is not None:
        h.setdefault("Content-Type", ct)
    b = []
    for x in (body or []):
        if b and isinstance(x, str) and isinstance(b[-1], str):
            b[-1] += x
        else:
            b.append(x)
    cases.append(dict(name=name, method=method, path=path, headers=h, body=b if body is not None else None))

def form(name, *parts, **k):
    add(name, body=[y for p in parts for y in p] + END, **k)

form("file only", FILE)
form("no parts")
form("file missing", part("model_id", "1"))
form("file as text", part("file", "hello"))
form("file as empty text", part("file", ""))
form("file as text, bad model_id", part("file", "hello"), part("model_id", "x"))
form("file missing, bad model_id", part("model_id", "x"))
form("two files, last wins", FILE, part("file", "SECONDFILE", "b.jpg"))
form("file then text", FILE, part("file", "text"))
form("text then file", part("file", "text"), FILE)
form("file then empty file", FILE, part("file", "", ""))
form("file name differs in case", part("File", "x", "a.jpg"))
form("empty file with name", part("file", "", "a.jpg"))
form("empty file without name", part("file", "", ""))
form("full file with empty name", part("file", "DATA", ""))
form("unknown extra fields", FILE, part("x", "1"), part("y", "z", "q.bin"))
ids = ["", "0", "1", "2", "99", " 1", "1 ", "\t1\n", "\u00a01", "\u30001", "\u00851", "01", "000", "0001", "1.0", "1.", ".0", "1.000", "1.5", "1.0.0",
  "+1", "-1", "-0", "+0", "--1", "+-1", "-+1", "++1", "+ 1", "- 1", "+01", "-01", "1_000", "_1", "1_", "1__0", "0_1", "+_1", "1_0.0", "1.0_0", "1_.0",
  "1e3", "1E0", "0x1", "0b1", "0o1", "true", "True", "false", "None", "null", "NaN", "nan", "inf", "Infinity", "-inf", "９", "１", "٣", "1９", "²", "一",
  "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "123456789012345678901234567890", "1234567890_1234567890_1234567890",
  "+123456789012345678901234567890", "-00123456789012345678901234567890.00", "1,000", "1 000", "abc", "<b>&'\"", "emoji 😀", "a\\b", "1\u20280", "00", "0.0", "-0.0", "+0.0", "00.00", "0_0", "00_1", "0__1", "-_1", "0.", "-", "+", ".", "_", " ", "1\x00", "\x001", "2\u200b", "1\r\n", "\x1f1", "\x0b1", "\x0c1", "1\x7f"]
for v in ids:
    form(f"model_id {v!r}", FILE, part("model_id", v))
for n in (4299, 4300, 4301, 5000):
    form(f"model_id of {n} digits", FILE, part("model_id", {"repeat": "7", "times": n}))
    form(f"model_id of {n} zeros and 1", FILE, part("model_id", {"repeat": "0", "times": n}) [:-1] + ["1\r\n"])
    form(f"model_id 1. and {n} zeros", FILE, [part("model_id", "1.")[0][:-2], {"repeat": "0", "times": n}, "\r\n"])
form("model_id of 5000 letters", FILE, part("model_id", {"repeat": "a", "times": 5000}))
form("model_id of 4500 spaces and 1", FILE, part("model_id", {"repeat": " ", "times": 4500})[:-1] + ["1\r\n"])
form("model_id twice", FILE, part("model_id", "1"), part("model_id", "2"))
form("model_id twice, last empty", FILE, part("model_id", "1"), part("model_id", ""))
form("model_id as file", FILE, part("model_id", "1", "id.txt"))
form("model_id as empty unnamed file", FILE, part("model_id", "", ""))
form("model_id as file, no file", part("model_id", "1", "id.txt"))
form("model_id not utf8", FILE, [part("model_id", "")[0][:-2], {"base64": base64.b64encode(b"\xff\xfe1").decode()}, "\r\n"])
form("model_id with content type", FILE, part("model_id", "1", headers=["Content-Type: text/plain; charset=utf-8"]))
form("model_id as json", FILE, part("model_id", "1", headers=["Content-Type: application/json"]))
form("model_id first", part("model_id", "2"), FILE)
form("v1 file", FILE, path="/api/v1/detect")
form("v1 ignores model_id", FILE, part("model_id", "abc"), path="/api/v1/detect")
form("v1 no file", part("model_id", "1"), path="/api/v1/detect")
# bodies
add("urlencoded model_id", body=["model_id=1"], ct="application/x-www-form-urlencoded")
add("urlencoded bad model_id", body=["model_id=%20x+y"], ct="application/x-www-form-urlencoded")
add("urlencoded file text", body=["file=abc&model_id=1"], ct="application/x-www-form-urlencoded")
add("urlencoded file empty", body=["file=&model_id="], ct="application/x-www-form-urlencoded")
add("urlencoded empty", body=[""], ct="application/x-www-form-urlencoded")
add("urlencoded odd", body=["&&model_id&&=x&file=a=b&%"], ct="application/x-www-form-urlencoded")
add("urlencoded last model_id wins", body=["file=%zz%41&model_id=1&model_id=q%C3%A9"], ct="application/x-www-form-urlencoded")
add("urlencoded charset", body=["file=a&model_id=b"], ct="application/x-www-form-urlencoded; charset=utf-8")
add("urlencoded upper case type", body=["file=a&model_id=b"], ct="Application/X-WWW-Form-URLencoded")
add("urlencoded big field", body=["file=", {"repeat": "a", "times": 1048577}], ct="application/x-www-form-urlencoded")
add("urlencoded field at limit", body=["model_id=1&f=", {"repeat": "a", "times": 1048575}], ct="application/x-www-form-urlencoded")
add("urlencoded 1000 fields", body=[{"repeat": "a=b&", "times": 1000}], ct="application/x-www-form-urlencoded")
add("urlencoded 1001 fields", body=[{"repeat": "a=b&", "times": 1001}], ct="application/x-www-form-urlencoded")
add("json body", body=['{"file":"x","model_id":1}'], ct="application/json")
add("no body")
add("raw jpeg body", body=["JPEG"], ct="image/jpeg")
add("octet-stream", body=["JPEG"], ct="application/octet-stream")
add("no content type", body=["JPEG"], ct=None)
add("multipart mixed", body=FILE + END, ct=f"multipart/mixed; boundary={B}")
add("multipart upper case", body=FILE + END, ct=f"Multipart/Form-Data; Boundary={B}")
add("multipart spaces", body=FILE + END, ct=f"multipart/form-data ;  boundary = {B} ; x=y")
add("boundary quoted", body=FILE + END, ct=f'multipart/form-data; boundary="{B}"')
add("boundary single quotes", body=FILE + END, ct=f"multipart/form-data; boundary='{B}'")
add("boundary missing", body=FILE + END, ct="multipart/form-data")
add("boundary missing with semicolon", body=FILE + END, ct="multipart/form-data;")
add("boundary empty", body=FILE + END, ct="multipart/form-data; boundary=")
add("boundary wrong", body=FILE + END, ct="multipart/form-data; boundary=other")
add("boundary is prefix", body=FILE + END, ct="multipart/form-data; boundary=BOUNDARY")
add("boundary 256", body=["--", {"repeat": "b", "times": 256}, "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nX\r\n--", {"repeat": "b", "times": 256}, "--"], ct="multipart/form-data; boundary=" + "b"*256)
add("boundary 257", body=["--", {"repeat": "b", "times": 257}, "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nX\r\n--", {"repeat": "b", "times": 257}, "--"], ct="multipart/form-data; boundary=" + "b"*257)
add("empty multipart body", body=[""])
add("multipart not a form", body=["hello world"])
add("multipart LF only", body=[x.replace("\r\n", "\n") for x in FILE + END])
add("preamble", body=["preamble\r\n"] + FILE + END)
add("preamble newlines", body=["\r\n\r\n"] + FILE + END)
add("preamble newline and text", body=["\r\nhello "] + FILE + END)
add("newlines only", body=["\r\n\r\n"])
add("epilogue", body=FILE + END + ["epilogue --BOUNDARYx garbage"])
add("only end boundary", body=END)
add("end boundary broken", body=["--BOUNDARYx-x"])
add("boundary then text", body=["--BOUNDARYxx\r\n"])
add("boundary CR no LF", body=["--BOUNDARYx\rx"])
add("truncated in file", body=["".join(FILE)[:-4]])
add("truncated before final boundary", body=FILE)
add("truncated final boundary", body=FILE + ["--BOUND"])
add("final boundary without dashes", body=FILE + ["--BOUNDARYx"])
add("final boundary one dash", body=FILE + ["--BOUNDARYx-"])
add("final boundary no CRLF", body=FILE + ["--BOUNDARYx--"])
add("final boundary dash x", body=FILE + ["--BOUNDARYx-x\r\n--BOUNDARYx--"])
add("truncated in headers", body=FILE + ["--BOUNDARYx\r\nContent-Dispo"])
add("truncated after headers", body=FILE + ["--BOUNDARYx\r\nContent-Disposition: form-data; name=\"model_id\"\r\n\r\n"])
add("truncated in model_id", body=FILE + ["--BOUNDARYx\r\nContent-Disposition: form-data; name=\"model_id\"\r\n\r\nabc"])
add("boundary padding", body=["".join(FILE) + "--BOUNDARYx \t \r\n" + "".join(part("model_id", "2")).split("\r\n", 1)[1]] + END)
add("first boundary padding", body=["--BOUNDARYx \r\n" + "".join(FILE).split("\r\n", 1)[1]] + END)
add("boundary padding broken", body=FILE + ["--BOUNDARYx  x\r\n"] + END)
add("boundary padding CR x", body=FILE + ["--BOUNDARYx  \rx"] + END)
add("boundary prefix in data", body=part("file", "AA\r\n--BOUNDARYxZZ\r\n--BOUNDARYx\rQ\r\n--BOUN\r\n\r\n-", "a.jpg") + END)
add("binary data", body=[part("file", "", "a.jpg")[0][:-2], {"base64": base64.b64encode(bytes(range(256))).decode()}, "\r\n"] + END)
add("empty part data without CRLF", body=["--BOUNDARYx\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n--BOUNDARYx--\r\n"])
# headers
form("no content disposition", part(disp="", value="x"))
form("no name", part(disp="form-data", value="x"))
form("no name but filename", part(disp='form-data; filename="a.jpg"', value="x"))
form("empty name", FILE, part(disp='form-data; name=""', value="x"))
form("name unquoted", part(disp="form-data; name=file; filename=a.jpg", value="x"))
form("name single quotes", part(disp="form-data; name='file'; filename='a.jpg'", value="x"))
form("attachment disposition", part(disp='attachment; name="file"; filename="a.jpg"', value="x"))
form("no disposition type", part(disp='name="file"; filename="a.jpg"', value="x"))
form("disposition upper case", part(disp='FORM-DATA; NAME="file"; FileName="a.jpg"', value="x"))
form("header name upper case", part(disp="", value="x", headers=['CONTENT-DISPOSITION: form-data; name="file"; filename="a.jpg"']))
form("header no space", part(disp="", value="x", headers=['content-disposition:form-data;name="file";filename="a.jpg"']))
form("header tab", part(disp="", value="x", headers=['content-disposition:\tform-data;name="file";filename="a.jpg"']))
form("header space before colon", part(disp="", value="x", headers=['Content-Disposition : form-data; name="file"; filename="a.jpg"']))
form("header folded", part(disp="", value="x", headers=['Content-Disposition: form-data; name="file";\r\n filename="a.jpg"']))
form("header empty name", part(disp="", value="x", headers=[': x']))
form("header without colon", part(disp="", value="x", headers=['hello']))
form("header LF inside", part("file", "x", "a.jpg", headers=["X: a\nb"]))
form("header CR inside", part("file", "x", "a.jpg", headers=["X: a\rb"]))
form("two dispositions", part("nofile", "x", "b.jpg", headers=['Content-Disposition: form-data; name="file"; filename="a.jpg"']))
form("8 headers", part("file", "x", "a.jpg", headers=[f"X-{i}: {i}" for i in range(7)]))
form("9 headers", part("file", "x", "a.jpg", headers=[f"X-{i}: {i}" for i in range(8)]))
for n in (4221, 4222, 4223, 8000):   # "X:" + n
    form(f"header value {n}", [f"--{B}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\nX:", {"repeat": "v", "times": n}, "\r\n\r\nx\r\n"])
form("header spaces count", [f"--{B}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\nX:", {"repeat": " ", "times": 4300}, "\r\n\r\nx\r\n"])
form("header name 4300", [f"--{B}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n", {"repeat": "v", "times": 4300}, ": x\r\n\r\nx\r\n"])
form("transfer encoding base64 ignored", part("file", "SGVsbG8=", "a.jpg", headers=["Content-Transfer-Encoding: base64"]))
form("field of 1 MiB", FILE, part("x", {"repeat": "a", "times": 1048576}))
form("field over 1 MiB", FILE, part("x", {"repeat": "a", "times": 1048577}))
add("field over 1 MiB, truncated", body=FILE + part("x", {"repeat": "a", "times": 1048577})[:2])
form("file over 1 MiB", part("file", {"repeat": "a", "times": 1200000}, "a.jpg"))
form("1000 fields", FILE, [{"repeat": "".join(part("x", "")), "times": 1000}])
form("1001 fields", FILE, [{"repeat": "".join(part("x", "")), "times": 1001}])
form("1000 files", [{"repeat": "".join(part("x", "", "y")), "times": 999}], FILE)
form("1001 files", [{"repeat": "".join(part("x", "", "y")), "times": 1000}], FILE)
# file names
for n in ['../../etc/passwd', '/abs/a.jpg', 'C:\\\\dir\\\\a.jpg', 'C:\\dir\\a.jpg', '\\\\\\\\host\\\\share\\\\a.jpg', 'dir\\a.jpg', 'a\\"b.jpg', 'a%22b.jpg', 'a;b.jpg', '图片 1.jpg', '😀.png', '.', '..', '.hidden', ' a.jpg ', 'a\tb.jpg', '%2e%2e%2fa.jpg', 'a=b.jpg', 'x' * 300 + '.jpg']:
    form(f"filename {n[:40]!r}", part("file", "DATA", n))
form("filename* only", part(disp="form-data; name=\"file\"; filename*=UTF-8''%e5%9b%be.jpg", value="DATA"))
form("filename and filename*", part(disp="form-data; name=\"file\"; filename=\"a.jpg\"; filename*=UTF-8''%e5%9b%be.jpg", value="DATA"))
form("filename latin1", [f'--{B}\r\nContent-Disposition: form-data; name="file"; filename="', {"base64": base64.b64encode(b"caf\xe9.jpg").decode()}, '"\r\n\r\nDATA\r\n'])
form("filename unterminated", part(disp='form-data; name="file"; filename="a.jpg', value="DATA"))
form("filename without value", part(disp='form-data; name="file"; filename', value="DATA"))
form("filename twice", part(disp='form-data; name="file"; filename="a.jpg"; filename="b.jpg"', value="DATA"))
form("name twice", part(disp='form-data; name="x"; name="file"; filename="b.jpg"', value="DATA"))
# methods and paths
for m in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY", "post", "FOO"):
    add(f"{m} detect", method=m)
for m in ("HEAD", "POST", "PUT", "OPTIONS", "GET"):
    for p in ("/api/v1/health", "/docs", "/openapi.json", "/nope", "/redoc"):
        if m == "GET" and p != "/nope" and p != "/api/v1/health": continue
        if m == "HEAD" and p in ("/docs", "/openapi.json", "/redoc"): continue
        add(f"{m} {p}", method=m, path=p)
for p in ("/", "/api/v1/health/", "/api/v1/health//", "//api/v1/health", "/api//v1/health", "/api/v1/health?x=1", "/api/v1/health/?x=1&y=%20", "/api/v1/./health", "/api/v1/../v1/health",
          "/api/v1%2Fhealth", "/api/v1/he%61lth", "/API/v1/health", "/api/v1/health%2F", "/api/v2/detect/", "/docs/", "/nope/", "/api/v1/health;x", "/api/v1", "/api/v1/", "//", "/docs/oauth2-redirect"):
    if p == "/docs/oauth2-redirect": continue
    add(f"GET {p}", method="GET", path=p)
add("POST detect slash", path="/api/v2/detect/", body=FILE + END)
add("POST detect query", path="/api/v2/detect?model_id=2", body=FILE + END)
add("POST detect query bad", path="/api/v2/detect?model_id=zz", body=FILE + END)
# CORS
O = {"Origin": "http://example.test"}
P = dict(O, **{"Access-Control-Request-Method": "POST"})
add("cors simple", method="GET", path="/api/v2/models", headers=O)
add("cors none", method="GET", path="/api/v2/models")
add("cors null origin", method="GET", path="/api/v2/models", headers={"Origin": "null"})
add("cors cookie", method="GET", path="/api/v2/models", headers=dict(O, Cookie="a=b"))
add("cors 405", method="GET", headers=O)
add("cors 422", headers=O)
add("cors 307", method="GET", path="/api/v1/health/", headers=O)
add("cors 404", method="GET", path="/nope", headers=O)
add("preflight", method="OPTIONS", headers=dict(P, **{"Access-Control-Request-Headers": "content-type"}))
add("preflight no headers", method="OPTIONS", headers=P)
add("preflight odd headers", method="OPTIONS", headers=dict(P, **{"Access-Control-Request-Headers": "X-A, x-b,Content-Type"}))
add("preflight empty headers", method="OPTIONS", headers=dict(P, **{"Access-Control-Request-Headers": ""}))
for m in ("GET", "QUERY", "TRACE", "post", "", "CONNECT"):
    add(f"preflight method {m!r}", method="OPTIONS", headers=dict(O, **{"Access-Control-Request-Method": m}))
add("preflight private network", method="OPTIONS", headers=dict(P, **{"Access-Control-Request-Private-Network": "true"}))
add("preflight two failures", method="OPTIONS", headers=dict(O, **{"Access-Control-Request-Method": "NOPE", "Access-Control-Request-Private-Network": "true", "Access-Control-Request-Headers": "x"}))
add("preflight no origin", method="OPTIONS", headers={"Access-Control-Request-Method": "POST"})
add("preflight no method", method="OPTIONS", headers=O)
add("preflight of slash", method="OPTIONS", path="/api/v2/detect/", headers=P)
add("preflight of unknown", method="OPTIONS", path="/nope", headers=P)

def blob(b):
    out = b""
    for x in b or []:
        if isinstance(x, str): out += x.encode()
        elif "repeat" in x: out += x["repeat"].encode() * x["times"]
        else: out += base64.b64decode(x["base64"])
    return out

def ask(port, c):
    s = socket.create_connection(("127.0.0.1", port)); s.settimeout(20)
    body = blob(c["body"])
    h = f"{c['method']} {c['path']} HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n"
    for k, v in c["headers"].items(): h += f"{k}: {v}\r\n"
    if c["body"] is not None or c["method"] in ("POST", "PUT"): h += f"Content-Length: {len(body)}\r\n"
    try:
        s.sendall(h.encode() + b"\r\n" + body)
    except OSError: pass
    r = b""
    try:
        while True:
            d = s.recv(65536)
            if not d: break
            r += d
    except OSError as e: print("recv", c["name"], e)
    s.close()
    head, _, rest = r.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    hs = {}
    for l in lines[1:]:
        k, _, v = l.partition(":"); hs.setdefault(k.lower(), []).append(v.strip())
    return int(lines[0].split()[1]), {k: ", ".join(v) for k, v in hs.items()}, rest

cfg = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", http="h11")
srv = uvicorn.Server(cfg)
t = threading.Thread(target=srv.run, daemon=True); t.start()
while not srv.started: time.sleep(0.02)
port = srv.servers[0].sockets[0].getsockname()[1]
out = []
for c in cases:
    st, hs, body = ask(port, c)
    if st == 101: continue
    r = {"status": st}
    keep = {k: v for k, v in hs.items() if k in ("allow", "location", "vary", "content-type", "x-file-size", "x-file-name") or k.startswith("access-control")}
    r["headers"] = keep
    if keep.get("content-type") == "application/json" and body: r["json"] = json.loads(body)
    elif body: r["text"] = body.decode()[:400]
    o = {"name": c["name"], "request": {k: v for k, v in c.items() if k != "name" and v not in (None, {}, )}, "response": r}
    out.append(o)
srv.should_exit = True; t.join(5)
names = [o["name"] for o in out]
assert len(names) == len(set(names)), [n for n in names if names.count(n) > 1]
with open("fastapi.json", "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(o, ensure_ascii=False) for o in out) + "\n]\n")
print(len(out))
