package usage

// SaveCheckpoints does what the heartbeat does every few seconds.
func (l *Ledger) SaveCheckpoints() error { return l.save(l.checkpoints()) }
