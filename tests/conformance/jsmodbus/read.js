// Reads by jsmodbus: node read.js PORT UNIT [KIND ADDRESS COUNT]...; KIND is holding, input or discrete. Prints JSON.
import { createRequire } from 'node:module'
import { Socket } from 'node:net'
import process from 'node:process'

const { client } = createRequire(process.env.JSMODBUS_FOLDER + '/')('jsmodbus')
const [port, unit, ...rest] = process.argv.slice(2)
const socket = new Socket()
const modbus = new client.TCP(socket, Number(unit))
const by = {
  holding: (address, count) => modbus.readHoldingRegisters(address, count),
  input: (address, count) => modbus.readInputRegisters(address, count),
  discrete: (address, count) => modbus.readDiscreteInputs(address, count)
}

socket.on('connect', async () => {
  const found = []
  for (let at = 0; at < rest.length; at += 3) {
    const [kind, address, count] = rest.slice(at, at + 3)
    const answer = await by[kind](Number(address), Number(count))
    found.push(answer.response.body.valuesAsArray.slice(0, Number(count)))
  }
  console.log(JSON.stringify(found))
  socket.end()
})
socket.on('error', (error) => {
  console.error(String(error))
  process.exit(1)
})
socket.connect({ host: '127.0.0.1', port: Number(port) })
