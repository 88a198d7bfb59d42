"""Operations: the doctor."""
