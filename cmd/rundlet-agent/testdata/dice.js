// A server with random state, which watches the generation.
const fs = require("fs"), net = require("net"), crypto = require("crypto");

const dir = "/run/rundlet", file = dir + "/generation";
const read = () => fs.readFileSync(file, "utf8").trim();
const seen = read();
let news = "none";
fs.watch(dir, () => {
  const now = read();
  if (now != seen) news = now;
});

Math.random();
crypto.randomBytes(8);
const urandom = fs.openSync("/dev/urandom");
const answers = {
  math: () => Math.random(),
  crypto: () => crypto.randomBytes(16).toString("hex"),
  uuid: () => crypto.randomUUID(),
  urandom: () => {
    const b = Buffer.alloc(16);
    fs.readSync(urandom, b);
    return b.toString("hex");
  },
  news: () => news,
};
net.createServer({ allowHalfOpen: true }, (c) => c.on("data", (d) => c.end(answers[d.toString().trim()]() + "\n")))
  .listen(8000, "127.0.0.1", () => fs.writeFileSync("/tmp/ready", ""));
