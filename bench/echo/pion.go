// The echo on Pion: each RTP packet goes back to its sender under an SSRC of ours. ICE-lite, one UDP port for all calls.
//
//	pion UDP-PORT HTTP-PORT PROFILE
//
// No interceptors: nothing is done for a packet but to read it and to write it.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/pion/dtls/v2"
	"github.com/pion/ice/v2"
	"github.com/pion/webrtc/v3"
)

const buffer = 4 << 20 // octets of socket buffer asked for: what trioice asks for

var profiles = map[string]dtls.SRTPProtectionProfile{
	"AEAD_AES_128_GCM":  dtls.SRTP_AEAD_AES_128_GCM,
	"AES128_CM_SHA1_80": dtls.SRTP_AES128_CM_HMAC_SHA1_80,
}

type server struct {
	api   *webrtc.API
	mutex sync.Mutex
	calls map[string]*webrtc.PeerConnection
	made  int
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// By privilege, where we have it.
func enlargeBuffers(connection *net.UDPConn) error {
	raw, err := connection.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		for option, byForce := range map[int]int{syscall.SO_RCVBUF: syscall.SO_RCVBUFFORCE, syscall.SO_SNDBUF: syscall.SO_SNDBUFFORCE} {
			if syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, byForce, buffer) != nil {
				_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, option, buffer)
			}
		}
	})
}

func newServer(port int, profile string) *server {
	connection, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	check(err)
	check(enlargeBuffers(connection))
	settings := webrtc.SettingEngine{}
	settings.SetLite(true)
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetICEUDPMux(webrtc.NewICEUDPMux(nil, connection))
	number, known := profiles[profile]
	if !known {
		log.Fatal("no profile ", profile)
	}
	settings.SetSRTPProtectionProfiles(number)
	media := &webrtc.MediaEngine{}
	check(media.RegisterCodec(webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2},
		PayloadType:        111,
	}, webrtc.RTPCodecTypeAudio))
	api := webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithSettingEngine(settings))
	return &server{api: api, calls: map[string]*webrtc.PeerConnection{}}
}

func echo(remote *webrtc.TrackRemote, local *webrtc.TrackLocalStaticRTP) {
	packet := make([]byte, 1500)
	for {
		length, _, err := remote.Read(packet)
		if err != nil {
			return
		}
		_, _ = local.Write(packet[:length]) // an echo that cannot leave is lost, as UDP would have it
	}
}

func (s *server) answer(offer string) (string, string, error) {
	call, err := s.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return "", "", err
	}
	local, err := webrtc.NewTrackLocalStaticRTP(
		webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "audio", "echo")
	if err == nil {
		_, err = call.AddTrack(local)
	}
	if err != nil {
		return "", "", err
	}
	call.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { echo(remote, local) })
	if err = call.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", "", err
	}
	answer, err := call.CreateAnswer(nil)
	if err != nil {
		return "", "", err
	}
	gathered := webrtc.GatheringCompletePromise(call)
	if err = call.SetLocalDescription(answer); err != nil {
		return "", "", err
	}
	<-gathered
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.made++
	id := strconv.Itoa(s.made)
	s.calls[id] = call
	return id, call.LocalDescription().SDP, nil
}

func (s *server) hangUp(id string) {
	s.mutex.Lock()
	call := s.calls[id]
	delete(s.calls, id)
	s.mutex.Unlock()
	if call != nil {
		_ = call.Close()
	}
}

func (s *server) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	if request.Method == http.MethodDelete {
		s.hangUp(strings.TrimPrefix(request.URL.Path, "/calls/"))
		return
	}
	offer, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	id, answer, err := s.answer(string(offer))
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	response.Header().Set("Content-Type", "application/sdp")
	response.Header().Set("Location", "/calls/"+id)
	response.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(response, answer)
}

func main() {
	if len(os.Args) != 4 {
		os.Exit(2)
	}
	port, err := strconv.Atoi(os.Args[1])
	check(err)
	listener, err := net.Listen("tcp4", "127.0.0.1:"+os.Args[2])
	check(err)
	handler := newServer(port, os.Args[3])
	fmt.Printf("http://%s\n", listener.Addr())
	check(http.Serve(listener, handler))
}
