module github.com/virtsmith/virtsmith

go 1.26
