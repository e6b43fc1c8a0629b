package queue

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Config is the `queue` block of config.yaml. Exactly one of Embedded.Dir and URL is set.
type Config struct {
	// Embedded runs the queue inside this process, on one disk. Every write is synced before it counts.
	Embedded Embedded `yaml:"embedded"`

	// URL names an external NATS cluster with JetStream: "nats://a:4222,nats://b:4222". Use tls:// across networks.
	// Its servers should run with `sync_interval: always` and need version 2.12 or later.
	URL string `yaml:"url"`
	// CredentialsFile is a NATS .creds file for the external cluster.
	CredentialsFile string `yaml:"credentials_file"`
	// CAFile holds the certificates, in PEM, that the external cluster's certificate is checked against, when it is
	// not signed by an authority that this machine trusts.
	CAFile string `yaml:"ca_file"`
	// Replicas is how many of the external cluster's servers keep each record: 1, 3 or 5. Default 1.
	Replicas int `yaml:"replicas"`

	// Shards is over how many streams deliveries are spread, 1 to 64; each is synced by itself. It is fixed when the
	// queue is created. Default 8.
	Shards int `yaml:"shards"`
	// Limits bound what is kept.
	Limits Limits `yaml:"limits"`
}

// Embedded is the `queue.embedded` block.
type Embedded struct {
	// Dir is the data folder. It is created with mode 0700 and used by one process at a time.
	Dir string `yaml:"dir"`
}

// Limits bound the queue's storage, in MiB. Zero means the default.
type Limits struct {
	// Deliveries is for all webhook bodies together. From three quarters on, the oldest decided ones go; when only
	// undecided ones are left and it is full, webhooks get 503. Default 2048.
	Deliveries int `yaml:"deliveries"`
	// Records is for each kind of record: decisions, active runs, finished runs, results, reports, refs. Default 1024.
	Records int `yaml:"records"`
	// Logs is for all job logs together; the oldest go first. Default 2048.
	Logs int `yaml:"logs"`
}

const (
	defaultShards     = 8
	maxShards         = 64
	defaultDeliveries = 2048
	defaultRecords    = 1024
	defaultLogs       = 2048
	minShard          = 64 // MiB; a shard must hold some of the largest bodies
	maxLimit          = 1 << 20
	minLimit          = 16 // MiB; a bucket must hold some of the largest records
)

// Validate tells everything that is wrong with the block, a plain sentence each.
func (c Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	switch {
	case c.Embedded.Dir == "" && c.URL == "":
		wrong("queue: set embedded.dir to a data folder, or url to a NATS cluster")
	case c.Embedded.Dir != "" && c.URL != "":
		wrong("queue: embedded.dir and url are both set; keep one")
	}
	if c.URL == "" {
		if c.CredentialsFile != "" {
			wrong("queue.credentials_file: only used together with url")
		}
		if c.CAFile != "" {
			wrong("queue.ca_file: only used together with url")
		}
		if c.Replicas > 1 {
			wrong("queue.replicas: an embedded queue lives on one disk; for more replicas set url to a NATS cluster")
		}
	} else {
		for server := range strings.SplitSeq(c.URL, ",") {
			u, err := url.Parse(strings.TrimSpace(server))
			switch {
			case err != nil:
				wrong("queue.url: not a URL; write nats://host:4222, several divided by commas")
			case u.Host == "":
				wrong("queue.url: %q names no host; write nats://host:4222", u.Redacted())
			case u.Scheme != "nats" && u.Scheme != "tls" && u.Scheme != "ws" && u.Scheme != "wss":
				wrong("queue.url: %q does not start with nats:// or tls://", u.Redacted())
			case u.User != nil:
				wrong("queue.url: holds a user or password; put credentials into credentials_file")
			}
		}
	}
	if r := c.Replicas; r != 0 && r != 1 && r != 3 && r != 5 {
		wrong("queue.replicas: %d; it must be 1, 3 or 5", r)
	}
	shards, deliveries := cmp.Or(c.Shards, defaultShards), cmp.Or(c.Limits.Deliveries, defaultDeliveries)
	if shards < 1 || shards > maxShards {
		wrong("queue.shards: %d; it must be from 1 to %d", c.Shards, maxShards)
	} else if deliveries < shards*minShard {
		wrong("queue.limits.deliveries: %d MiB for %d shards; it must be at least %d MiB, so that the largest webhooks fit "+
			"into a shard", deliveries, shards, shards*minShard)
	}
	if r := c.Limits.Records; r != 0 && r < minLimit {
		wrong("queue.limits.records: %d MiB; it must be at least %d", r, minLimit)
	}
	if l := c.Limits.Logs; l != 0 && l < minLimit {
		wrong("queue.limits.logs: %d MiB; it must be at least %d", l, minLimit)
	}
	for _, mib := range []int{c.Limits.Deliveries, c.Limits.Records, c.Limits.Logs} {
		if mib > maxLimit {
			wrong("queue.limits: %d MiB; none may be above %d", mib, maxLimit)
		}
	}
	return errors.Join(errs...)
}

// limitBytes turns a limit in MiB into bytes.
func limitBytes(mib, fallback int) int64 {
	if mib == 0 {
		mib = fallback
	}
	return int64(mib) << 20
}
