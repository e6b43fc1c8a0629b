package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// embedded is a NATS server in this process that listens on nothing.
type embedded struct {
	server *server.Server
	lock   *flock.Flock
}

// startEmbedded locks the folder and starts a server on it.
func startEmbedded(dir string, store int64, log *slog.Logger) (_ *embedded, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("queue.embedded.dir: the data folder can't be created: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))
	switch locked, err := lock.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("queue.embedded.dir: the data folder %s can't be locked: %w", dir, err)
	case !locked:
		return nil, fmt.Errorf("queue.embedded.dir: another Slipway uses the data folder %s; stop it, or give this one a "+
			"folder of its own", dir)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Unlock())
		}
	}()
	// What the server writes lies in its own folder, which is closed to others even where dir is not ours to close.
	files := filepath.Join(dir, server.JetStreamStoreDir)
	if err := os.MkdirAll(files, 0o700); err != nil {
		return nil, fmt.Errorf("queue.embedded.dir: the data folder can't be created: %w", err)
	}
	if err := os.Chmod(files, 0o700); err != nil {
		return nil, fmt.Errorf("queue.embedded.dir: the data folder can't be closed to other users: %w", err)
	}
	s, err := server.NewServer(&server.Options{
		ServerName:             "slipway",
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		StoreDir:               dir,
		SyncAlways:             true,
		JetStreamMaxStore:      store,
		JetStreamMaxMemory:     64 << 20,
		MaxPayload:             8 << 20, // what the server advises at most; few bodies are larger, compressed
		NoSystemAccount:        true,
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, fmt.Errorf("configure the embedded NATS server: %w", err)
	}
	s.SetLoggerV2(serverLog{log.With("component", "nats")}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(30*time.Second) || !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, errors.New("the embedded NATS server did not start; its own messages in the log tell why")
	}
	return &embedded{server: s, lock: lock}, nil
}

func (e *embedded) connect() (*nats.Conn, error) {
	return nats.Connect("", nats.InProcessServer(e.server), nats.Name("slipway"), nats.MaxReconnects(-1))
}

// stop returns when everything is written and the folder is free.
func (e *embedded) stop() error {
	e.server.Shutdown()
	e.server.WaitForShutdown()
	return e.lock.Unlock()
}

// serverLog passes the server's messages on; what it merely notes is of interest only when debugging.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l serverLog) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l serverLog) Errorf(format string, v ...any)  { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l serverLog) Fatalf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l serverLog) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l serverLog) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
