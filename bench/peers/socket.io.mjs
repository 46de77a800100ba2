// A server as one writes it with socket.io: a room for each channel, joined by the query, and an event that publishes.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, maxHttpBufferSize: 4e6, serveClient: false });

io.on("connection", (socket) => {
  const { channel } = socket.handshake.query;
  if (channel) socket.join(channel);
  socket.on("publish", (room, data) => io.to(room).emit("message", data));
});

http.listen({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 4096 });
