// An agent in Node, without packages: callers hear themselves, and whoever speaks up interrupts what is still to be said.
//
// node examples/agents/agent.mjs 9000
// trioice serve --agent ws://127.0.0.1:9000
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'

const server = createServer().on('upgrade', (request, socket) => {
  const key = createHash('sha1').update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11')
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${key.digest('base64')}\r\n\r\n`)
  const send = (opcode, payload) => {
    const size = payload.length < 126 ? [payload.length] : [126, payload.length >> 8, payload.length & 255]
    socket.write(Buffer.concat([Buffer.from([128 | opcode, ...size]), payload]))
  }
  const hear = (opcode, payload) => {
    if (opcode === 2) send(2, payload) // the caller's audio, said again
    if (opcode === 9) send(10, payload) // a ping
    if (opcode === 8) socket.end(Buffer.from([136, 0])) // the end
    if (opcode !== 1) return
    const event = JSON.parse(payload)
    if (event.type === 'speech_started') send(1, Buffer.from('{"type":"clear"}'))
    if (!['heard', 'stats'].includes(event.type)) console.log(event)
  }
  let rest = Buffer.alloc(0)
  socket.on('error', console.error).on('data', (octets) => {
    rest = Buffer.concat([rest, octets])
    for (;;) { // a frame (RFC 6455, 5.2): opcode, length, mask, payload
      const short = rest[1] & 127, start = short < 126 ? 6 : short === 126 ? 8 : 14
      if (rest.length < start) return
      const end = start + (short < 126 ? short : short === 126 ? rest.readUInt16BE(2) : Number(rest.readBigUInt64BE(2)))
      if (rest.length < end) return
      hear(rest[0] & 15, rest.subarray(start, end).map((octet, at) => octet ^ rest[start - 4 + at % 4]))
      rest = rest.subarray(end)
    }
  })
})
server.listen(Number(process.argv[2] ?? 9000), '127.0.0.1', () => console.log(`ws://127.0.0.1:${server.address().port}`))
