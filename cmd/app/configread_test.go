package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// What can't be understood is said with its line and in terms of the file.
func TestDecodeConfig(t *testing.T) {
	for text, want := range map[string]string{
		"server:\n  pagess: x": "line 2: unknown key `pagess` under `server`",
		"srever: {}":           "line 1: unknown key `srever`",
		"registries:\n  r.example.com: {psuh: []}":            "line 2: unknown key `psuh` under `registries.r.example.com`",
		"environments: {e: {approvals: {team: []}}}":          "line 1: unknown key `team` under `environments.e.approvals`",
		"work:\n  per_repository: hunter2":                    "line 2: `work.per_repository` wants a whole number, not this text",
		"work: {per_repository: 1.5}":                         "line 1: `work.per_repository` wants a whole number, not a number that is not whole",
		"github: {app_id: true}":                              "line 1: `github.app_id` wants a whole number, not true or false",
		"server: {pages_public: 3}":                           "line 1: `server.pages_public` wants true or false, not a number",
		"builds: {timeout: soon}":                             "line 1: `builds.timeout` wants a length of time such as 90s or 5m, not this text",
		"server: {url: [x]}":                                  "line 1: `server.url` wants text, not a list",
		"repositories: {mode: {}}":                            "line 1: `repositories.mode` wants text, not keys with values",
		"repositories:\n  allow:\n    acme: x":                "line 3: `repositories.allow` wants a list, not keys with values",
		"repositories: {allow: [a/b, [c/d]]}":                 "line 1: `repositories.allow[1]` wants text, not a list",
		"clusters:\n  a: {in_cluster: true}\n  b: kubeconfig": "line 3: `clusters.b` wants keys with values, not this text",
		"environments: {e: {approvals: 2}}":                   "line 1: `environments.e.approvals` wants keys with values, not a number",
		"- a":                                                 "line 1: the file wants keys with values, not a list",
		"clusters: {[a]: {}}":                                 "line 1: the file wants text, not a list",
		"work: {rollouts: 1}\nsrever: {}\nlog: {levvel: x}":   "line 2: unknown key `srever`\nline 3: unknown key `levvel` under `log`",
	} {
		var c Config
		faults, err := decodeConfig([]byte(text), &c)
		if err != nil || faults == nil || faults.Error() != want {
			t.Errorf("%q: got %v, %v, want %s", text, faults, err, want)
		}
	}
	// Nothing can be made of these files, so that what is missing in them then is no fault.
	for text, want := range map[string]string{
		"work: {}\nserver: {}\nwork: {dir: x}": "line 3: key `work` is here twice, first on line 1",
		"a: b: c":                              "line 1: mapping values are not allowed in this context",
		"server:\n\turl: x":                    "line 2: found character that cannot start any token",
		"work: *a":                             "line 1: unknown anchor 'a' referenced",
	} {
		var c Config
		if faults, err := decodeConfig([]byte(text), &c); faults != nil || err == nil || err.Error() != want {
			t.Errorf("%q: got %v, %v, want %s", text, faults, err, want)
		}
	}
}

// Whatever is written where something else belongs, no Go type and no YAML tag is spoken of.
func TestDecodeConfigSpeaksNoGo(t *testing.T) {
	tried := 0
	var try func(typ reflect.Type, before, after, key string)
	try = func(typ reflect.Type, before, after, key string) {
		for _, value := range []string{"word", "7", "true", "[[]]", "{a: {b: c}}"} {
			var c Config
			faults, err := decodeConfig([]byte(before+value+after), &c)
			if err = errors.Join(err, faults); err == nil {
				continue
			}
			tried++
			for _, foreign := range []string{"!!", "main.", "pipeline.", "jobs.", "time.", "[]", "map[", "struct", " into ", "bool", "construct", "not found in"} {
				if strings.Contains(err.Error(), foreign) {
					t.Errorf("%s as %s: %v", key, value, err)
				}
			}
		}
		switch typ.Kind() {
		case reflect.Pointer:
			try(typ.Elem(), before, after, key)
		case reflect.Slice:
			try(typ.Elem(), before+"[", "]"+after, key+"[0]")
		case reflect.Map:
			try(typ.Elem(), before+"{x: ", "}"+after, key+".x")
		case reflect.Struct:
			for i := range typ.NumField() {
				f := typ.Field(i)
				name, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
				switch {
				case option == "inline":
					try(f.Type, before, after, key)
				case name != "-" && f.IsExported():
					try(f.Type, before+"{"+name+": ", "}"+after, key+"."+name)
				}
			}
		}
	}
	try(reflect.TypeFor[Config](), "", "", "")
	if tried < 200 {
		t.Errorf("only %d values were refused", tried)
	}
}

// All that is wrong is said at once: what can't be understood, what makes no sense, and which files are missing.
func TestLoadConfigAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := `
github: {app_id: 1, private_key_file: app.pem, webhook_secret_files: [one.secret, two.secret]}
queue: {url: "tls://nats:4222", credentials_file: nats.creds, ca_file: nats-ca.pem}
registries:
  r.example.com: {username: a, password_file: r.password, push: ["["], pull: ["base/**", "![!x]/**"]}
  q.example.com: {pull: ["!a"]}
clusters: {a: {kubeconfig_file: a.kubeconfig}, b: {kubeconfig_file: b.kubeconfig}, here: {in_cluster: true}}
repositories: {allow: ["*"]}
log: {level: loud, form: text}
`
	write(text)
	_, err := LoadConfig(file)
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{
		"line 9: unknown key `form` under `log`", `log.level: "loud"`, `repositories.allow: "*" never matches a repository`,
		`registries.r.example.com.push: "["`, `registries.r.example.com.pull: "![!x]/**" can't be used`, "registries.q.example.com.pull: patterns that begin with !",
		"github.private_key_file: ", "github.webhook_secret_files[0]: ", "github.webhook_secret_files[1]: ", "queue.credentials_file: ", "queue.ca_file: ",
		"registries.r.example.com: password_file: ", "clusters.a.kubeconfig_file: ", "clusters.b.kubeconfig_file: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s in:\n%v", want, err)
		}
	}
	// Who only wants to know something needs no keys.
	write("github: {private_key_file: app.pem}\nwork: {dir: here}")
	if c, err := consultConfig(file); err != nil || c.Server.AdminSocket != filepath.Join(filepath.Dir(file), "here", "admin.sock") {
		t.Errorf("%+v, %v", c.Server, err)
	}
	write("srever: {}")
	if _, err := consultConfig(file); err == nil || err.Error() != file+": line 1: unknown key `srever`" {
		t.Error(err)
	}
}

// A file that is cut could still be YAML, without its last blocks.
func TestConfigTooLarge(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	for size, fits := range map[int]bool{maxConfig: true, maxConfig + 1: false} {
		if err := os.WriteFile(file, []byte("work: {}\n#"+strings.Repeat("x", size-10)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := readConfig(file)
		if (err == nil) != fits || !fits && !strings.Contains(err.Error(), "larger than 1 MiB") {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestConfigDoubts(t *testing.T) {
	for text, want := range map[string]string{
		"commands: {deplyo: {role: write}}":                     "commands.deplyo: holds only for pipelines that declare /deplyo; /deploy is there always: is that meant?",
		"commands: {deploy: {role: write}, ship: {users: [a]}}": "",
	} {
		var c Config
		if faults, err := decodeConfig([]byte(text), &c); err != nil || faults != nil {
			t.Fatal(faults, err)
		}
		if got := strings.Join(c.doubts(), "\n"); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}
