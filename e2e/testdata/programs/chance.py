# What a Python program sees of its machine: all of it must be the same each time.
import glob, hashlib, io, os, random, secrets, socket, sqlite3, subprocess, sys, tempfile, time, uuid, zipfile, zlib

print(random.random(), random.SystemRandom().random(), secrets.token_hex(4), os.urandom(4).hex())
print(time.time(), time.monotonic(), time.perf_counter(), time.process_time(), time.localtime().tm_year)
print(uuid.uuid1(), uuid.uuid4(), hash("text"), {"a", "b", "c", "d"}, {frozenset("xyz"): object()}, id(object()) % 65536)
print(os.getpid(), os.getppid(), os.cpu_count(), os.uname(), os.getloadavg(), socket.gethostname(), sorted(os.environ), os.getcwd())
print(tempfile.mkdtemp(), tempfile.NamedTemporaryFile().name, os.stat("/etc/passwd").st_ino, os.stat(".").st_mtime_ns)
random_device = os.open("/dev/urandom", os.O_RDONLY)
print(os.pread(random_device, 4, 0).hex(), os.read(random_device, 4).hex())
archive = io.BytesIO()
with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
    z.writestr("name", "content")
print(hashlib.sha256(archive.getvalue()).hexdigest(), zlib.crc32(b"x"))
print(sqlite3.connect(":memory:").execute("select random(), datetime('now')").fetchall())
print(subprocess.run(["sh", "-c", "echo $$; date"], capture_output=True, text=True))
print(glob.glob("/usr/share/*")[:5], sys.flags.hash_randomization)
