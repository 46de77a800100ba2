// A server as one writes it with npm's ws: whoever connects to a path is on that channel, and what it sends goes to all on it.
import { WebSocketServer } from "ws";

const channels = new Map();
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]), perMessageDeflate: false, backlog: 4096 });

server.on("connection", (socket, request) => {
  const name = request.url;
  const members = channels.get(name) ?? new Set();
  channels.set(name, members.add(socket));
  socket.on("message", (data, binary) => {
    for (const member of members) member.send(data, { binary });
  });
  socket.on("error", () => socket.terminate());
  socket.on("close", () => members.delete(socket));
});
