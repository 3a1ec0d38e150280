// Chance, time, workers, children and files, as a program for node sees them.
const { Worker } = require("worker_threads"), fs = require("fs"), os = require("os"), crypto = require("crypto");
console.log(Math.random(), Date.now(), performance.now() > 0, process.pid, os.cpus().length, crypto.randomBytes(4).toString("hex"), new Date().toString());
for (let i = 0; i < 3; i++)
	new Worker("const w = require('worker_threads'); setTimeout(() => w.parentPort.postMessage([w.workerData, Math.random(), Date.now()]), 10)", { eval: true, workerData: i }).on("message", (m) => console.log(m));
(async () => {
	await Promise.all([...Array(20).keys()].map((i) => fs.promises.writeFile("/tmp/" + i, "x")));
	console.log((await fs.promises.readdir("/tmp")).length);
	crypto.pbkdf2("a", "b", 1000, 8, "sha1", (e, k) => console.log(k.toString("hex")));
	const child = require("child_process").spawn("sh", ["-c", "cat; date"]);
	child.stdout.on("data", (d) => console.log("" + d));
	child.stdin.end("to it\n");
	let n = 0;
	const every = setInterval(() => { if (++n == 3) { clearInterval(every); console.log("late", Date.now()); } }, 1000);
})();
