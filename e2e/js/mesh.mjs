// What a program needs to be a client of the mesh, in the terms of docs/services.md, "For other programs".

import { createHash } from 'node:crypto'
import http from 'node:http'
import { Duplex, Readable, Writable } from 'node:stream'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { noise } from '@libp2p/noise'
import { peerIdFromPublicKey } from '@libp2p/peer-id'
import { RecordEnvelope } from '@libp2p/peer-record'
import { ping } from '@libp2p/ping'
import { preSharedKey } from '@libp2p/pnet'
import { tcp } from '@libp2p/tcp'
import { byteStream } from '@libp2p/utils'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { decode } from 'cborg'
import { createLibp2p } from 'libp2p'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { sha256 } from 'multiformats/hashes/sha2'

const text = new TextEncoder()
const words = new TextDecoder()

const maxDescription = 4096
const maxFrame = 8 << 20

// join makes a client of a network. privateKey and swarmKey, the bytes of the file, may be left out.
export async function join (network, { privateKey, swarmKey } = {}) {
  const topic = `/bpci/${network}/services/1`
  const node = await createLibp2p({
    privateKey,
    transports: [tcp(), webSockets()],
    connectionProtector: swarmKey == null ? undefined : preSharedKey({ psk: swarmKey }),
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: {
      identify: identify(),
      ping: ping({ maxOutboundStreams: 4 }), // the DHT pings, too, and leaves out whom it could not
      dht: kadDHT({
        protocol: `/bpci/${network}/kad/1.0.0`,
        clientMode: true,
        peerInfoMapper: passthroughMapper, // on a network of the public Internet: leave it out
        validators: { bpci: (key, value) => openDescription(network, value, words.decode(key).split('/')[2]) },
        selectors: { bpci: newest }
      }),
      gossip: gossipsub({
        globalSignaturePolicy: 'StrictNoSign', // a description is signed itself
        msgIdFn: m => digest('bpci/msg/1', text.encode(m.topic), m.data),
        allowedTopics: [topic]
      })
    }
  })
  // What says that this peer is of the network: a peer that does not is let go after some seconds.
  await node.handle(`/bpci/2/${network}`, stream => { stream.abort(new Error('this protocol is only a name')) })
  // A peer that passes on what is no description is thought ill of.
  node.services.gossip.topicValidators.set(topic, async (_, message) => {
    try {
      await openDescription(network, message.data)
      return 'accept'
    } catch {
      return 'reject'
    }
  })
  return node
}

// digest is the name of bytes: SHA-256 over a tag and parts, each after its length in 8 bytes.
export function digest (tag, ...parts) {
  const hash = createHash('sha256')
  for (const part of [text.encode(tag), ...parts]) {
    const length = Buffer.alloc(8)
    length.writeBigUInt64BE(BigInt(part.length))
    hash.update(length).update(part)
  }
  return new Uint8Array(hash.digest())
}

// serviceKey is where the DHT has the providers of a service.
export async function serviceKey (network, name, major = 1) {
  return CID.createV1(raw.code, await sha256.digest(text.encode(`bpci/svc/1|${network}|${name}|${major}`)))
}

// openDescription reads what a peer offers, if that peer signed it for this network and it is in force.
export async function openDescription (network, bytes, peer) {
  if (bytes.length > maxDescription) {
    throw new Error(`a description of ${bytes.length} bytes`)
  }
  const envelope = await RecordEnvelope.openAndCertify(bytes, 'bpci-service-description')
  if (words.decode(envelope.payloadType) !== '/bpci/description/1') {
    throw new Error('the envelope holds no description')
  }
  const [key, of, seq, expires, offers] = decode(envelope.payload.subarray(), { strict: true })
  const signer = peerIdFromPublicKey(envelope.publicKey).toString()
  if (!Buffer.from(key).equals(Buffer.from(envelope.publicKey.raw)) || (peer ?? signer) !== signer) {
    throw new Error(`signed by ${signer}, who is not the peer that it describes`)
  }
  if (of !== network) {
    throw new Error(`of network ${of}`)
  }
  if (expires <= Date.now()) {
    throw new Error('it has expired')
  }
  return {
    peer: signer,
    seq: Number(seq),
    expires: new Date(Number(expires)).toISOString(),
    offers: offers.map(([service, [major, minor], capacity, labels]) => ({ service, version: `${major}.${minor}`, capacity, labels }))
  }
}

// newest chooses among the values that peers have for one key, all of them valid.
function newest (_, values) {
  const seqs = values.map(v => BigInt(decode(RecordEnvelope.createFromProtobuf(v).payload.subarray())[2]))
  return seqs.reduce((best, seq, i) => seq > seqs[best] ? i : best, 0)
}

// providers are the peers that the DHT names for a service, with their addresses. Anybody can be named there.
export async function providers (node, network, name, options) {
  const found = new Map()
  for await (const event of node.services.dht.findProviders(await serviceKey(network, name), options)) {
    for (const p of event.name === 'PROVIDER' ? event.providers : []) {
      found.set(p.id.toString(), p.multiaddrs.map(a => a.toString()))
    }
  }
  return found
}

// description is what the DHT has under a peer's own id.
export async function description (node, network, peer, options) {
  let best
  for await (const event of node.services.dht.get(text.encode(`/bpci/${peer}`), options)) {
    if (event.name === 'VALUE') {
      best = event.value // the last is the best
    }
  }
  if (best == null) {
    throw new Error(`the DHT has no description of ${peer}`)
  }
  return openDescription(network, best, peer)
}

// frame is bytes after their length.
export function frame (bytes) {
  const head = Buffer.alloc(4)
  head.writeUInt32BE(bytes.length)
  return Buffer.concat([head, bytes])
}

// readFrame reads one of 1 to limit bytes.
export async function readFrame (stream, limit, options) {
  const length = Buffer.from((await stream.read({ bytes: 4, ...options })).subarray()).readUInt32BE()
  if (length < 1 || length > limit) {
    throw new Error(`a frame of ${length} bytes: at most ${limit}`)
  }
  return (await stream.read({ bytes: length, ...options })).subarray()
}

// ask sends a request on a stream of its own, and gives the answer; a refusal is an error.
export async function ask (connection, network, protocol, request, options) {
  const stream = byteStream(await connection.newStream(`/bpci/${network}/rpc/${protocol}`, options), { maxBufferSize: 2 * maxFrame })
  await stream.write(frame(request), options)
  const answer = await readFrame(stream, maxFrame, options)
  await stream.unwrap().close(options)
  if (answer[0] !== 0) {
    throw new Error(`the peer answers with code ${answer[0]}: ${words.decode(answer.subarray(1))}`)
  }
  return answer.subarray(1)
}

// request sends one HTTP request on a stream of its own to a peer's API, and gives status and body.
export async function request (connection, network, path, { method = 'GET', body, signal } = {}) {
  const stream = await connection.newStream(`/bpci/${network}/stream/api/1`, { signal })
  return new Promise((resolve, reject) => {
    const r = http.request({ method, path, host: 'peer', signal, createConnection: () => socket(stream) }, answer => {
      const chunks = []
      answer.on('data', c => chunks.push(c))
      answer.on('error', reject)
      answer.on('end', () => { resolve({ status: answer.statusCode, body: Buffer.concat(chunks) }) })
    })
    r.on('error', reject)
    r.end(body)
  })
}

// socket is a libp2p stream as Node's http takes one.
function socket (stream) {
  return Duplex.from({
    readable: Readable.from((async function * () {
      for await (const chunk of stream) {
        yield chunk.subarray()
      }
    })(), { objectMode: false }),
    writable: new Writable({
      write (chunk, _, done) {
        stream.send(chunk) ? done() : stream.onDrain().then(() => done(), done)
      },
      final (done) { stream.close().then(() => done(), done) }
    })
  })
}
