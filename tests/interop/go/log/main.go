// Command log reads a running log with the clients and verifiers of others.
//
// It reads one JSON request per line and writes one JSON answer per line: {"ok": bool, "error": text, ...}. Byte strings
// are base64 (encoding/json does that for []byte). The hashes of the leaves that torchwood read are kept for the requests
// that follow.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"filippo.io/torchwood"
	flog "github.com/transparency-dev/formats/log"
	fproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type request struct {
	Op     string      `json:"op"`
	URL    string      `json:"url"`
	Policy []byte      `json:"policy"`
	Note   []byte      `json:"note"`
	Proof  []byte      `json:"proof"`
	Leaf   []byte      `json:"leaf"`
	Key    string      `json:"key"`
	Index  []int64     `json:"index"`
	Pairs  [][2]uint64 `json:"pairs"`
}

type answer struct {
	OK       bool   `json:"ok"`
	Error    string `json:"error"`
	Size     int64  `json:"size"`
	Root     []byte `json:"root"`
	Hashes   []byte `json:"hashes"`
	Verified int    `json:"verified"`
	Index    uint64 `json:"index"`
}

// leaves are the leaf hashes of the log that "entries" read last.
var leaves [][]byte

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<26)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var r request
		var a answer
		err := json.Unmarshal(in.Bytes(), &r)
		if err == nil {
			err = handle(&r, &a)
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

func handle(r *request, a *answer) error {
	switch r.Op {
	case "entries":
		return entries(r, a)
	case "inclusion":
		return inclusion(r, a)
	case "consistency":
		return consistency(r, a)
	case "torchwood-proof":
		p, err := torchwood.ParsePolicy(r.Policy)
		if err != nil {
			return err
		}
		return torchwood.VerifyProof(p, tlog.Hash(r.Leaf), r.Proof)
	case "formats-proof":
		return formatsProof(r, a)
	}
	return fmt.Errorf("unknown operation %q", r.Op)
}

// entries reads the whole log as torchwood's client does, under its newest checkpoint or the given one, and some entries
// one by one.
func entries(r *request, a *answer) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	policy, err := torchwood.ParsePolicy(r.Policy)
	if err != nil {
		return err
	}
	fetcher, err := torchwood.NewTileFetcher(r.URL)
	if err != nil {
		return err
	}
	signed := r.Note
	if len(signed) == 0 {
		if signed, err = fetcher.ReadEndpoint(ctx, "checkpoint"); err != nil {
			return err
		}
	}
	head, _, err := torchwood.VerifyCheckpoint(signed, policy)
	if err != nil {
		return err
	}
	client, err := torchwood.NewClient(fetcher)
	if err != nil {
		return err
	}
	var found [][]byte
	for index, entry := range client.AllEntries(ctx, head.Tree, 0) {
		if index != int64(len(found)) {
			return fmt.Errorf("entry %d came as number %d", index, len(found))
		}
		hash := tlog.RecordHash(entry)
		found = append(found, hash[:])
	}
	if err := client.Err(); err != nil {
		return err
	}
	for _, index := range r.Index {
		entry, path, err := client.Entry(ctx, head.Tree, index)
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		if err := tlog.CheckRecord(path, head.N, head.Hash, index, tlog.RecordHash(entry)); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		a.Verified++
	}
	leaves = found
	a.Size, a.Root, a.Hashes = head.N, head.Hash[:], bytes.Join(found, nil)
	return nil
}

// inclusion asks the service for proofs of (leaf, tree size) and verifies each against a root computed here.
func inclusion(r *request, a *answer) error {
	roots, err := rootsOf(r.Pairs, false)
	if err != nil {
		return err
	}
	for _, pair := range r.Pairs {
		index, size := pair[0], pair[1]
		var got struct {
			LeafHash []byte   `json:"leaf_hash"`
			Proof    [][]byte `json:"proof"`
		}
		if err := get(fmt.Sprintf("%s/v1/log/inclusion?index=%d&tree_size=%d", r.URL, index, size), &got); err != nil {
			return err
		}
		if !bytes.Equal(got.LeafHash, leaves[index]) {
			return fmt.Errorf("leaf %d: the service states another leaf hash", index)
		}
		verify := func(path [][]byte) error {
			return proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaves[index], path, roots[size])
		}
		if err := verify(got.Proof); err != nil {
			return fmt.Errorf("leaf %d of %d: %w", index, size, err)
		}
		if err := refuses(got.Proof, verify); err != nil {
			return fmt.Errorf("leaf %d of %d: %w", index, size, err)
		}
		a.Verified++
	}
	return nil
}

// consistency does the same for pairs of tree sizes.
func consistency(r *request, a *answer) error {
	roots, err := rootsOf(r.Pairs, true)
	if err != nil {
		return err
	}
	for _, pair := range r.Pairs {
		var got struct {
			Proof [][]byte `json:"proof"`
		}
		if err := get(fmt.Sprintf("%s/v1/log/consistency?first=%d&second=%d", r.URL, pair[0], pair[1]), &got); err != nil {
			return err
		}
		verify := func(path [][]byte) error {
			hasher := rfc6962.DefaultHasher
			return proof.VerifyConsistency(hasher, pair[0], pair[1], path, roots[pair[0]], roots[pair[1]])
		}
		if err := verify(got.Proof); err != nil {
			return fmt.Errorf("%d to %d: %w", pair[0], pair[1], err)
		}
		if err := refuses(got.Proof, verify); err != nil {
			return fmt.Errorf("%d to %d: %w", pair[0], pair[1], err)
		}
		a.Verified++
	}
	return nil
}

// refuses says whether the verifier misses that some hash of the path has changed, or that one is missing or too many.
func refuses(path [][]byte, verify func([][]byte) error) error {
	for k := range path {
		path[k][k%len(path[k])] ^= 1
		err := verify(path)
		path[k][k%len(path[k])] ^= 1
		if err == nil {
			return fmt.Errorf("verifies with hash %d changed", k)
		}
	}
	if len(path) > 0 && verify(path[1:]) == nil {
		return errors.New("verifies without its first hash")
	}
	if verify(append(path[:len(path):len(path)], make([]byte, 32))) == nil {
		return errors.New("verifies with a hash too many")
	}
	return nil
}

// rootsOf computes the roots at the sizes that pairs name (their second number, or both) from the leaves.
func rootsOf(pairs [][2]uint64, both bool) (map[uint64][]byte, error) {
	roots := map[uint64][]byte{}
	for _, pair := range pairs {
		roots[pair[1]] = nil
		if both {
			roots[pair[0]] = nil
		}
	}
	tree := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	for _, leaf := range leaves {
		if err := tree.Append(leaf, nil); err != nil {
			return nil, err
		}
		if _, wanted := roots[tree.End()]; wanted {
			root, err := tree.GetRootHash(nil)
			if err != nil {
				return nil, err
			}
			roots[tree.End()] = root
		}
	}
	for size, root := range roots {
		if root == nil {
			return nil, fmt.Errorf("there are %d leaves here, not %d", len(leaves), size)
		}
	}
	return roots, nil
}

// formatsProof reads a .tlog-proof with transparency-dev's own code, and verifies it with that alone.
func formatsProof(r *request, a *answer) error {
	var p fproof.TLogProof
	if err := p.Unmarshal(r.Proof); err != nil {
		return err
	}
	if !bytes.Equal(p.Marshal(), r.Proof) {
		return errors.New("formats writes the proof it read in other bytes")
	}
	key, err := note.NewVerifier(r.Key)
	if err != nil {
		return err
	}
	head, _, _, err := flog.ParseCheckpoint(p.Checkpoint, key.Name(), key)
	if err != nil {
		return err
	}
	var path [][]byte
	for _, hash := range p.Hashes {
		path = append(path, hash[:])
	}
	a.Index, a.Size, a.Root = p.Index, int64(head.Size), head.Hash
	return proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, head.Size, r.Leaf, path, head.Hash)
}

func get(url string, into any) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, response.Status, body)
	}
	return json.Unmarshal(body, into)
}
