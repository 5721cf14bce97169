// gVisor netstack as the stack under test: peer-gvisor IFNAME IP MTU
//
// TCP 7 echoes, 9 discards, 19 sends. Built by ../build.
package main

import (
	"net"
	"os"
	"strconv"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/fdbased"
	"gvisor.dev/gvisor/pkg/tcpip/link/rawfile"
	"gvisor.dev/gvisor/pkg/tcpip/link/tun"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

func must(e error) {
	if e != nil {
		panic(e)
	}
}
func mustT(e tcpip.Error) {
	if e != nil {
		panic(e.String())
	}
}

func main() {
	name, ip := os.Args[1], net.ParseIP(os.Args[2]).To4()
	mtu, _ := strconv.Atoi(os.Args[3])
	_, _ = rawfile.GetMTU(name)
	fd, err := tun.Open(name)
	must(err)
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	sack := tcpip.TCPSACKEnabled(true)
	mustT(s.SetTransportProtocolOption(tcp.ProtocolNumber, &sack))
	cc := tcpip.CongestionControlOption("cubic")
	mustT(s.SetTransportProtocolOption(tcp.ProtocolNumber, &cc))
	rb := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: 4 << 20, Max: 16 << 20}
	mustT(s.SetTransportProtocolOption(tcp.ProtocolNumber, &rb))
	sb := tcpip.TCPSendBufferSizeRangeOption{Min: 4096, Default: 4 << 20, Max: 16 << 20}
	mustT(s.SetTransportProtocolOption(tcp.ProtocolNumber, &sb))
	ep, err := fdbased.New(&fdbased.Options{FDs: []int{fd}, MTU: uint32(mtu)})
	must(err)
	mustT(s.CreateNIC(1, ep))
	addr := tcpip.Address(ip)
	mustT(s.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{Address: addr, PrefixLen: 24}}, stack.AddressProperties{}))
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})
	serve := func(port uint16, f func(net.Conn)) {
		l, err := gonet.ListenTCP(s, tcpip.FullAddress{NIC: 1, Addr: addr, Port: port}, ipv4.ProtocolNumber)
		must(err)
		go func() {
			for {
				c, err := l.Accept()
				if err == nil {
					go f(c)
				}
			}
		}()
	}
	serve(9, func(c net.Conn) {
		b := make([]byte, 256<<10)
		for {
			if _, e := c.Read(b); e != nil {
				c.Close()
				return
			}
		}
	})
	serve(19, func(c net.Conn) {
		b := make([]byte, 256<<10)
		for {
			if _, e := c.Write(b); e != nil {
				c.Close()
				return
			}
		}
	})
	serve(7, func(c net.Conn) {
		b := make([]byte, 64<<10)
		for {
			n, e := c.Read(b)
			if e != nil {
				c.Close()
				return
			}
			if _, e := c.Write(b[:n]); e != nil {
				return
			}
		}
	})
	select {}
}
