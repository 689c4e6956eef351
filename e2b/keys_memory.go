package e2b

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"sync"
	"time"
)

// MemoryKeys is a KeyStore that forgets: for tests and for programs that embed
// the server. The zero value is ready.
type MemoryKeys struct {
	mu   sync.RWMutex
	keys []memoryKey
}

type memoryKey struct {
	Key
	hash [sha256.Size]byte
}

// Create implements KeyStore.
func (m *MemoryKeys) Create(_ context.Context, name string) (Key, string, error) {
	key, text := NewKey(name, time.Now())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = append(m.keys, memoryKey{key, HashKey(text)})
	return key, text, nil
}

// List implements KeyStore.
func (m *MemoryKeys) List(context.Context) ([]Key, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	keys := make([]Key, 0, len(m.keys))
	for _, k := range m.keys {
		keys = append(keys, k.Key)
	}
	return keys, nil
}

// Remove implements KeyStore.
func (m *MemoryKeys) Remove(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, k := range m.keys {
		if k.ID == id {
			m.keys = append(m.keys[:i], m.keys[i+1:]...)
			return nil
		}
	}
	return ErrBadKey
}

// Verify implements KeyStore.
func (m *MemoryKeys) Verify(_ context.Context, text string) (Key, error) {
	hash := HashKey(text)
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, k := range m.keys {
		if subtle.ConstantTimeCompare(k.hash[:], hash[:]) == 1 {
			return k.Key, nil
		}
	}
	return Key{}, ErrBadKey
}
