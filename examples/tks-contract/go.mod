module example.com/tks-contract

go 1.26
