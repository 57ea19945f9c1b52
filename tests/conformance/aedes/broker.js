// An MQTT broker for tests: node broker.js PORT [USER PASSWORD]. Sessions and retained messages live in memory.
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import process from 'node:process'

const load = createRequire(process.env.AEDES_FOLDER + '/')
const [port, user, password] = process.argv.slice(2)
const broker = load('aedes')()

if (user) {
  broker.authenticate = (client, name, secret, done) => {
    const isRight = name === user && secret?.toString() === password
    done(isRight ? null : Object.assign(new Error('refused'), { returnCode: 4 }), isRight)
  }
}
createServer(broker.handle).listen(Number(port), '127.0.0.1')
