// How a program enters a private network by an invitation, in the terms of docs/services.md, "By an invitation".

import { createHash } from 'node:crypto'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { noise } from '@libp2p/noise'
import { preSharedKey } from '@libp2p/pnet'
import { tcp } from '@libp2p/tcp'
import { byteStream } from '@libp2p/utils'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { decode, encode } from 'cborg'
import { createLibp2p } from 'libp2p'
import { base32 } from 'multiformats/bases/base32'
import { digest, frame, readFrame } from './mesh.mjs'

const maxAnswer = 513

// readInvitation takes the word apart that bpi network invite prints.
export function readInvitation (word) {
  const whole = Buffer.from(base32.baseDecode(word.toLowerCase().replace(/\s/g, '').replace(/^bpi1/, '')))
  const ticket = whole.subarray(0, -4)
  const sum = createHash('sha256').update('bpci/ticket/1\0').update(ticket).digest()
  if (!sum.subarray(0, 4).equals(whole.subarray(-4))) {
    throw new Error('the invitation is damaged')
  }
  const [invitation, secret] = decode(ticket)
  const [network, chain, bootstrap,,, id] = invitation[0]
  return { invitation, secret, network, chain, bootstrap, id }
}

// knock shows an invitation to the member at an address, which then lets the owner of the key in. It leaves no connection.
export async function knock (address, privateKey, invited, { swarmKey, signal } = {}) {
  const self = privateKey.publicKey.raw
  const bound = Buffer.concat([Buffer.from('bpci/admission/1\0'), invited.chain, invited.id, self])
  const proof = invited.secret.length === 0 // the invitation names the peer
    ? new Uint8Array(64)
    : await (await generateKeyPairFromSeed('Ed25519', invited.secret)).sign(bound)
  const said = encode([[invited.invitation, self, proof], false])

  let heard
  const door = components => {
    const security = noise()(components)
    const handshake = security.secureOutbound.bind(security)
    security.protocol = '/' + Buffer.from(digest('bpci/door/1', invited.chain)).subarray(0, 16).toString('hex')
    security.secureOutbound = async (connection, options) => {
      const stream = byteStream((await handshake(connection, options)).connection)
      await stream.write(frame(said), options)
      heard = Buffer.from(await readFrame(stream, maxAnswer, options))
      throw new Error('the door is closed after each knock')
    }
    return security
  }
  const node = await createLibp2p({
    privateKey,
    transports: [tcp(), webSockets()],
    connectionProtector: swarmKey == null ? undefined : preSharedKey({ psk: swarmKey }),
    connectionEncrypters: [door],
    streamMuxers: [yamux()]
  })
  const failed = await node.dial(multiaddr(address), { signal }).then(() => undefined, err => err)
  await node.stop()
  if (heard == null) {
    throw failed
  }
  const words = heard.subarray(1).toString()
  if (heard[0] !== 0) {
    throw new Error(words)
  }
  return words // what members call themselves: /bpci/2/NETWORK
}
