package testdb

// PostgresFrom says where PostgreSQL was found.
func PostgresFrom() string {
	s, err := postgresOnce()
	if err != nil {
		return err.Error()
	}
	return s.from
}

// RedisFrom says where Redis was found.
func RedisFrom() string {
	s, err := redisOnce()
	if err != nil {
		return err.Error()
	}
	return s.from
}
