// A forwarder in Go: one socket of the standard library for each side, a goroutine locked to its thread for each, a map, and
// no allocation for a datagram. It does for a datagram what forwarder.c does.
//
//	forwarder PUBLIC-PORT TRANSCEIVER-PORT
package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
)

const (
	datagram = 2048
	flows    = 1 << 16
	buffer   = 4 << 20
	header   = 38
)

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func main() {
	public, transceiver := port(os.Args[1]), port(os.Args[2])
	outer, inner := listen(public), listen(netip.AddrPortFrom(loopback, 0))
	go fromTransceiver(inner, outer, transceiver)
	fmt.Println("relay on", public)
	fromClients(outer, inner, public, transceiver)
}

func fromClients(outer, inner *net.UDPConn, proxy, transceiver netip.AddrPort) {
	runtime.LockOSThread()
	headers := make(map[uint64]*[header]byte, flows) // an integer as the key: the fastest map that there is
	octets := make([]byte, header+datagram)
	for {
		length, client, err := outer.ReadFromUDPAddrPort(octets[header:])
		if err != nil {
			continue
		}
		host := client.Addr().As4()
		key := uint64(host[0])<<40 | uint64(host[1])<<32 | uint64(host[2])<<24 | uint64(host[3])<<16 | uint64(client.Port())
		front := headers[key]
		if front == nil {
			if length == 0 || octets[header] != 0 || len(headers) == flows {
				continue
			}
			front = newHeader(client, proxy)
			headers[key] = front
		}
		copy(octets, front[:])
		inner.WriteToUDPAddrPort(octets[:header+length], transceiver) // what does not fit is lost
	}
}

func fromTransceiver(inner, outer *net.UDPConn, transceiver netip.AddrPort) {
	runtime.LockOSThread()
	octets := make([]byte, header+datagram)
	for {
		length, source, err := inner.ReadFromUDPAddrPort(octets)
		if err != nil || source != transceiver || length <= header || octets[0] != 0x56 {
			continue
		}
		host := netip.AddrFrom4(*(*[4]byte)(octets[14:18]))
		client := netip.AddrPortFrom(host, uint16(octets[34])<<8|uint16(octets[35]))
		outer.WriteToUDPAddrPort(octets[header:length], client)
	}
}

func newHeader(client, proxy netip.AddrPort) *[header]byte {
	octets := new([header]byte)
	one, other := client.Addr().As16(), proxy.Addr().As16()
	octets[0], octets[1] = 0x56, 0xec
	copy(octets[2:], one[:])
	copy(octets[18:], other[:])
	octets[34], octets[35] = byte(client.Port()>>8), byte(client.Port())
	octets[36], octets[37] = byte(proxy.Port()>>8), byte(proxy.Port())
	return octets
}

func listen(at netip.AddrPort) *net.UDPConn {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		panic(err)
	}
	conn.SetReadBuffer(buffer)
	conn.SetWriteBuffer(buffer)
	return conn
}

func port(text string) netip.AddrPort {
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		panic(err)
	}
	return netip.AddrPortFrom(loopback, uint16(number))
}
