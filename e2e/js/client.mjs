// A client of the mesh that does one step after another and says in a line of JSON what came of each.
//
//   node client.mjs key FILE                          makes a key, and says its peer id
//   node client.mjs --network NAME --address MULTIADDR [--key FILE] [--swarm-key FILE] STEP…
//
// Steps: knock:INVITATION, dial, identify, ping, hear:LABEL, find:SERVICE, value, api:PATH, message:PATH, submit:FILE, receipt:FILE. The first that
// fails ends it with code 1.

import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey, peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { knock, readInvitation } from './door.mjs'
import { ask, description, join, openDescription, providers, request } from './mesh.mjs'

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { network: { type: 'string' }, address: { type: 'string' }, key: { type: 'string' }, 'swarm-key': { type: 'string' } }
})

const say = line => { process.stdout.write(JSON.stringify(line) + '\n') }

if (positionals[0] === 'key') {
  const key = await generateKeyPair('Ed25519')
  writeFileSync(positionals[1], privateKeyToProtobuf(key), { mode: 0o600 })
  say({ peer: peerIdFromPrivateKey(key).toString() })
  process.exit()
}

const { network, address } = flags
const stepTime = 20_000
const privateKey = flags.key == null ? await generateKeyPair('Ed25519') : privateKeyFromProtobuf(readFileSync(flags.key))
const swarmKey = flags['swarm-key'] == null ? undefined : readFileSync(flags['swarm-key'])
const node = await join(network, { privateKey, swarmKey })
const to = peerIdFromString(address.split('/p2p/')[1])
const limit = () => ({ signal: AbortSignal.timeout(stepTime) })

// libp2p asks by itself who the other is.
const identified = new Promise(resolve => { node.addEventListener('peer:identify', ({ detail }) => { resolve(detail) }, { once: true }) })

// A peer that does not want this one hangs up.
const shut = new Promise((_, reject) => {
  node.addEventListener('connection:close', ({ detail }) => {
    if (detail.remotePeer.equals(to) && node.getConnections(to).length === 0) {
      reject(new Error('the peer closed the connection'))
    }
  })
})
shut.catch(() => {}) // it may come between two steps

let connection // to the peer at the address
let provider // a connection to the peer that find chose
let job // of submit

const steps = {
  // knock comes before dial, on a private network that lets this peer in by an invitation.
  async knock (invitation) {
    return { heard: await knock(address, privateKey, readInvitation(invitation), { swarmKey, ...limit() }) }
  },

  // dial comes before all others.
  async dial () {
    connection = await node.dial(multiaddr(address), limit())
    return { encryption: connection.encryption, muxer: connection.multiplexer }
  },

  async identify () {
    const { protocolVersion, agentVersion, protocols } = await identified
    return { protocolVersion, agentVersion, protocols }
  },

  async ping () {
    return { ms: await node.services.ping.ping(to, limit()) }
  },

  // hear waits for gossip that says of some peer what it did not say before.
  async hear (label) {
    const { gossip } = node.services
    const topic = `/bpci/${network}/services/1`
    return new Promise((resolve, reject) => {
      limit().signal.addEventListener('abort', () => { reject(new Error(`no description with label ${label} was heard`)) })
      gossip.addEventListener('message', async ({ detail }) => {
        const d = await openDescription(network, detail.data)
        if (d.offers.some(o => o.labels.includes(label))) {
          resolve({ description: d })
        }
      })
      gossip.addEventListener('gossipsub:graft', () => { say({ step: 'hear', listens: topic }) }, { once: true })
      gossip.subscribe(topic)
    })
  },

  // find takes the DHT's word for where a peer is, and the peer's own for what it offers.
  async find (service) {
    const found = await providers(node, network, service, limit())
    for (const [peer, addresses] of found) {
      const d = await description(node, network, peer, limit())
      if (!d.offers.some(o => o.service === service)) {
        continue
      }
      provider = await node.dial(addresses.map(a => multiaddr(`${a}/p2p/${peer}`)), limit())
      return { peer, addresses, providers: [...found.keys()], description: d }
    }
    throw new Error(`the DHT names ${found.size} peers for ${service}, none of which offers it`)
  },

  async value () {
    return { description: await description(node, network, to.toString(), limit()) }
  },

  async api (path) {
    const { status, body } = await request(connection, network, path, limit())
    return { status, body: body.toString() }
  },

  async message (path) {
    const answer = await ask(connection, network, 'svc/api/1', Buffer.from(`GET ${path} HTTP/1.1\r\nHost: peer\r\n\r\n`), limit())
    return { answer: Buffer.from(answer).toString() }
  },

  async submit (file) {
    const answer = await ask(provider, network, 'svc/analytics/1', readFileSync(file), limit())
    const got = JSON.parse(Buffer.from(answer).toString())
    job = got.job
    return { answer: got }
  },

  async receipt (file) {
    const { status, body } = await request(connection, network, `/v1/receipts/${job}`, limit())
    writeFileSync(file, body)
    return { status, job }
  }
}

for (const step of positionals) {
  const [name, ...argument] = step.split(':')
  try {
    say({ step: name, ...await Promise.race([steps[name](argument.join(':')), shut]) })
  } catch (err) {
    const { protocols, metadata } = await node.peerStore.get(to).catch(() => ({ protocols: [], metadata: new Map() }))
    const told = ['AgentVersion', 'ProtocolVersion'].filter(k => metadata.has(k))
    say({ step: name, error: `${err.name}: ${err.message}`, learnt: [...protocols, ...told] })
    process.exit(1)
  }
}
await node.stop()
process.exit()
