// Command note answers questions about notes, cosignatures and proofs with the implementations of others.
//
// It reads one JSON request per line and writes one JSON answer per line: {"ok": bool, "error": text, "result": text}.
// Byte strings are base64 (encoding/json does that for []byte).
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"filippo.io/mldsa"
	"filippo.io/torchwood"
	flog "github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type request struct {
	Op        string   `json:"op"`
	Note      []byte   `json:"note"`
	Text      string   `json:"text"`
	Keys      []string `json:"keys"`
	PublicKey []byte   `json:"public_key"`
	Message   []byte   `json:"message"`
	Signature []byte   `json:"signature"`
	Policy    []byte   `json:"policy"`
	Proof     []byte   `json:"proof"`
	Hashes    [][]byte `json:"hashes"`
	Index     int64    `json:"index"`
	Extra     []byte   `json:"extra"`
	Leaf      []byte   `json:"leaf"`
}

type answer struct {
	OK     bool   `json:"ok"`
	Error  string `json:"error"`
	Result []byte `json:"result"`
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<26)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var r request
		var a answer
		err := json.Unmarshal(in.Bytes(), &r)
		if err == nil {
			a.Result, err = handle(&r)
		}
		if a.OK = err == nil; !a.OK {
			a.Error = err.Error()
		}
		if err := out.Encode(a); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func handle(r *request) ([]byte, error) {
	switch r.Op {
	case "open": // x/mod's note.Open; the keys are Ed25519 note keys
		return open(r.Note, r.Keys, note.NewVerifier)
	case "open-cosigned": // the same with formats' verifier of cosignatures, 0x04 or 0x06
		return open(r.Note, r.Keys, fnote.NewVerifierForCosignatureV1)
	case "parse": // note.Open without keys: a note that parses is "unverified"
		_, err := note.Open(r.Note, nil)
		var unverified *note.UnverifiedNoteError
		if errors.As(err, &unverified) {
			return []byte(unverified.Note.Text), nil
		}
		return nil, err
	case "sign":
		s, err := note.NewSigner(r.Keys[0])
		if err != nil {
			return nil, err
		}
		return note.Sign(&note.Note{Text: r.Text}, s)
	case "cosign":
		s, err := fnote.NewSignerForCosignatureV1(r.Keys[0])
		if err != nil {
			return nil, err
		}
		return note.Sign(&note.Note{Text: r.Text}, s)
	case "mldsa":
		key, err := mldsa.NewPublicKey(mldsa.MLDSA44(), r.PublicKey)
		if err != nil {
			return nil, err
		}
		return nil, mldsa.Verify(key, r.Message, r.Signature, nil)
	case "checkpoint": // formats and torchwood must read the same head
		var c flog.Checkpoint
		if rest, err := c.Unmarshal([]byte(r.Text)); err != nil || len(rest) > 0 {
			return nil, fmt.Errorf("formats: rest %q, %v", rest, err)
		}
		t, err := torchwood.ParseCheckpoint(r.Text)
		if err != nil {
			return nil, err
		}
		if t.String() != string(c.Marshal()) {
			return nil, errors.New("the two differ")
		}
		return c.Marshal(), nil
	case "verify-proof":
		p, err := torchwood.ParsePolicy(r.Policy)
		if err != nil {
			return nil, err
		}
		return nil, torchwood.VerifyProof(p, tlog.Hash(r.Leaf), r.Proof)
	case "format-proof":
		var p tlog.RecordProof
		for _, h := range r.Hashes {
			p = append(p, tlog.Hash(h))
		}
		if r.Extra != nil {
			return torchwood.FormatProofWithExtraData(r.Index, r.Extra, p, r.Note), nil
		}
		return torchwood.FormatProof(r.Index, p, r.Note), nil
	}
	return nil, fmt.Errorf("unknown operation %q", r.Op)
}

func open(data []byte, keys []string, parse func(string) (note.Verifier, error)) ([]byte, error) {
	var verifiers []note.Verifier
	for _, k := range keys {
		v, err := parse(k)
		if err != nil {
			return nil, err
		}
		verifiers = append(verifiers, v)
	}
	n, err := note.Open(data, note.VerifierList(verifiers...))
	if err != nil {
		return nil, err
	}
	if len(n.Sigs) != len(keys) {
		return nil, fmt.Errorf("%d of %d keys verified", len(n.Sigs), len(keys))
	}
	return []byte(n.Text), nil
}
