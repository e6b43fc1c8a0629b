// Command tks-contract is a small service that lists contracts. It exists to be built and rolled out: it answers
// /healthz when it is up and /contracts with what it holds in memory. `tks-contract migrate FILE` prepares the schema,
// as the chart's hook Job does before each rollout.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

// contract is one line of the schema's seed data.
type contract struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "migrate" {
		if err := migrate(os.Args[2:]); err != nil {
			log.Fatalf("migrate: %v", err)
		}
		return
	}
	if err := serve(); err != nil {
		log.Fatalf("serve: %v", err)
	}
}

// migrate prepares the schema in a file, as a database migration would.
func migrate(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: tks-contract migrate FILE")
	}
	const schema = "contract(id text primary key, customer text not null)\n"
	if err := os.WriteFile(args[0], []byte(schema), 0o644); err != nil {
		return err
	}
	fmt.Printf("schema is ready in %s: %s", args[0], schema)
	return nil
}

func serve() error {
	address := os.Getenv("ADDRESS")
	if address == "" {
		address = ":8080"
	}
	contracts := []contract{{"c-1", "Hanbit"}, {"c-2", "Daehan"}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /contracts", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(contracts); err != nil {
			log.Printf("answer: %v", err)
		}
	})
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	log.Printf("listening on %s, greeting %q", address, strings.TrimSpace(os.Getenv("GREETING")))
	return server.ListenAndServe()
}
